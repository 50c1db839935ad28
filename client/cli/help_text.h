// Ends of the help texts.
#ifndef LONGLORA_CLIENT_CLI_HELP_TEXT_H_
#define LONGLORA_CLIENT_CLI_HELP_TEXT_H_

namespace longlora::client {

inline constexpr char kExitCodesHelp[] =
    "Exit codes:\n"
    "  0  done\n"
    "  1  the job that was waited for FAILED or was CANCELLED\n"
    "  2  bad usage, a bad spec, or not possible in the job's state\n"
    "  3  not found\n"
    "  4  the server cannot be reached\n"
    "  5  not allowed: token, certificate or file permissions\n"
    "  6  anything else: a fault of the server, or of this machine's disk\n"
    "  128 + N  detached from a job by signal N; the job goes on";

inline constexpr char kEverywhereHelp[] =
    "--server, --output, --quiet and the security options of `longlora --help` work here too.";

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_HELP_TEXT_H_
