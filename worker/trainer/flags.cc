#include "worker/trainer/flags.h"

#include "CLI/CLI.hpp"
#include "common/trainer_protocol/exit_code.h"

namespace longlora::trainer {

std::variant<Flags, int> ParseFlags(int argc, char** argv) {
  Flags flags;
  CLI::App app("Fine-tunes a model as a spec says: one rank of one job.", "longlora-trainer");
  app.add_option("--spec", flags.spec_path, "the job as JSON, with local paths")->required();
  CLI::Option* const output = app.add_option("--output", flags.output_directory,
                                             "where adapter/, checkpoints/ and merged/ go");
  app.add_option("--model-dir", flags.model_directory, "where base_model is looked up by name");
  app.add_option("--cache-dir", flags.cache_directory,
                 "where tokenized datasets are kept for other runs and ranks (default: cache/ in "
                 "the output directory)");
  app.add_flag("--resume", flags.resume,
               "go on from the newest complete checkpoint in the output directory");
  CLI::Option* const estimate = app.add_flag(
      "--estimate", flags.estimate,
      "print what memory a rank will need, as one JSON object, and end; weights and data "
      "are not read");
  app.add_option("--events-fd", flags.events_fd,
                 "descriptor to write events to, one JSON object a line")
      ->capture_default_str();
  try {
    app.parse(argc, argv);
    if (output->empty() && estimate->empty()) throw CLI::RequiredError("--output");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(common::ExitCode::kInvalidJob);
  }
  if (flags.cache_directory.empty()) flags.cache_directory = flags.output_directory + "/cache";
  return flags;
}

}  // namespace longlora::trainer
