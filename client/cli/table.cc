#include "client/cli/table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/format.h"

namespace longlora::client {

std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows,
                        const std::string& indent) {
  std::vector<int> widths(header.size(), 0);
  std::vector<std::vector<std::string>> lines = {header};
  lines.insert(lines.end(), rows.begin(), rows.end());
  for (std::vector<std::string>& line : lines) {
    for (size_t column = 0; column < line.size(); ++column) {
      line[column] = Printable(line[column]);
      widths[column] = std::max(widths[column], DisplayWidth(line[column]));
    }
  }
  std::string text;
  for (const std::vector<std::string>& line : lines) {
    std::string row = indent;
    for (size_t column = 0; column < line.size(); ++column) {
      const int padding = widths[column] - DisplayWidth(line[column]) + 2;
      absl::StrAppend(&row, line[column], std::string(static_cast<size_t>(padding), ' '));
    }
    absl::StripTrailingAsciiWhitespace(&row);
    absl::StrAppend(&text, row, "\n");
  }
  return text;
}

}  // namespace longlora::client
