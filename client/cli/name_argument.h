// The NAME that most subcommands take.
#ifndef LONGLORA_CLIENT_CLI_NAME_ARGUMENT_H_
#define LONGLORA_CLIENT_CLI_NAME_ARGUMENT_H_

#include <CLI/CLI.hpp>
#include <string>

namespace longlora::client {

// Adds the argument; resource_name.h's JobName makes `name` a resource name.
inline void AddNameArgument(CLI::App& command, std::string& name) {
  command.add_option("NAME", name, "The job: ID or fineTuneJobs/ID")->required();
}

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_NAME_ARGUMENT_H_
