// Where the command line writes: data to standard output, messages to standard error. Knows whether
// somebody watches. Not thread-safe.
#ifndef LONGLORA_CLIENT_CLI_CONSOLE_H_
#define LONGLORA_CLIENT_CLI_CONSOLE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace longlora::client {

struct ConsoleStyle {
  bool live = false;     // standard output is a terminal that can redraw a line
  bool colour = false;   // and its user wants colour (NO_COLOR is not set)
  bool unicode = false;  // and its locale is UTF-8
};

class Console {
 public:
  // Looks at the descriptors and at TERM, NO_COLOR, LC_ALL, LC_CTYPE, LANG.
  Console();

  // Data.
  void Print(absl::string_view text);
  // A message for people, not shown with --quiet. A line break is added.
  void Note(absl::string_view text);
  // What went wrong, always shown, after "longlora: ". A line break is added.
  void Error(absl::string_view text);
  // Shows `text` in the last line of the terminal on standard error in place of what it showed
  // before; empty clears it. Nothing happens when standard error is not a terminal or with --quiet.
  void Transient(absl::string_view text);

  // False when some data could not be written (disk full, closed pipe).
  bool Flush();

  void set_quiet(bool quiet) { quiet_ = quiet; }
  bool quiet() const { return quiet_; }
  const ConsoleStyle& style() const { return style_; }
  // Of the terminal, now; 80 when unknown.
  static int Columns();

 private:
  ConsoleStyle style_;
  bool error_is_terminal_ = false;
  bool quiet_ = false;
};

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_CONSOLE_H_
