// Columns of text. Pure function.
#ifndef LONGLORA_CLIENT_CLI_TABLE_H_
#define LONGLORA_CLIENT_CLI_TABLE_H_

#include <string>
#include <vector>

namespace longlora::client {

// `header` and `rows` below each other, columns two blanks apart, each line with a line break and
// no trailing blanks. Cells are made Printable. Every row has as many cells as the header.
std::string RenderTable(const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows,
                        const std::string& indent = "");

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_TABLE_H_
