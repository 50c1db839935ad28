#include "client/cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace longlora::client {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// As setlocale(3) chooses.
bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = absl::AsciiStrToLower(Variable(name));
    if (value.empty()) continue;
    return absl::StrContains(value, "utf-8") || absl::StrContains(value, "utf8");
  }
  return false;
}

void Write(FILE* file, absl::string_view text) { std::fwrite(text.data(), 1, text.size(), file); }

}  // namespace

Console::Console() {
  const std::string term = Variable("TERM");
  const bool able = !term.empty() && term != "dumb";
  style_.live = able && isatty(STDOUT_FILENO) == 1;
  style_.colour = style_.live && Variable("NO_COLOR").empty();
  style_.unicode = style_.live && LocaleIsUtf8();
  error_is_terminal_ = able && isatty(STDERR_FILENO) == 1;
}

void Console::Print(absl::string_view text) {
  Write(stdout, text);
  // Whoever reads a pipe wants an event when it happens.
  std::fflush(stdout);
}

void Console::Note(absl::string_view text) {
  if (quiet_) return;
  Write(stderr, text);
  Write(stderr, "\n");
}

void Console::Error(absl::string_view text) {
  Write(stderr, "longlora: ");
  Write(stderr, text);
  Write(stderr, "\n");
}

void Console::Transient(absl::string_view text) {
  if (quiet_ || !error_is_terminal_) return;
  Write(stderr, "\r");
  Write(stderr, text);
  Write(stderr, "\x1b[K");
}

bool Console::Flush() { return std::fflush(stdout) == 0 && std::ferror(stdout) == 0; }

int Console::Columns() {
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    winsize size{};
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  }
  return 80;
}

}  // namespace longlora::client
