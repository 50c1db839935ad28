#include "tests/worker/supervisor/fake_script.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace longlora::testing {

FakeScript::FakeScript(absl::string_view text) {
  for (absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" ,"), absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(word, absl::MaxSplits('=', 1));
    values_[pair.first] = pair.second.empty() ? "1" : pair.second;
  }
}

int64_t FakeScript::Get(const std::string& name, int64_t otherwise) const {
  const auto found = values_.find(name);
  int64_t value = otherwise;
  if (found != values_.end() && !absl::SimpleAtoi(found->second, &value)) return otherwise;
  return value;
}

std::string FakeScript::GetText(const std::string& name, const std::string& otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : found->second;
}

}  // namespace longlora::testing
