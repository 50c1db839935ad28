// The command line of longlora-trainer. Used by main only.
#ifndef LONGLORA_WORKER_TRAINER_FLAGS_H_
#define LONGLORA_WORKER_TRAINER_FLAGS_H_

#include <string>
#include <variant>

namespace longlora::trainer {

struct Flags {
  std::string spec_path;
  std::string output_directory;
  std::string model_directory;  // may be empty
  std::string cache_directory;  // output_directory/cache unless given
  bool resume = false;
  bool estimate = false;  // tell what memory the job needs instead of training
  int events_fd = 1;
};

// The flags, or the code to exit with: 0 after --help, ExitCode::kInvalidJob after a mistake, which
// is explained on standard error.
std::variant<Flags, int> ParseFlags(int argc, char** argv);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_FLAGS_H_
