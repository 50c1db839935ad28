// CLI11 takes seconds a file; compiled once for all subcommands.
#include <CLI/CLI.hpp>

#include "rpc/pch.h"
