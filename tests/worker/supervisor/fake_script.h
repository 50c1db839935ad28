// What a fake trainer is told to do: words like "steps=5 crash_at=3 crash_rank=1", from the
// environment variable LONGLORA_FAKE_TRAINER or, when that is unset, from the spec's display_name.
#ifndef LONGLORA_TESTS_WORKER_SUPERVISOR_FAKE_SCRIPT_H_
#define LONGLORA_TESTS_WORKER_SUPERVISOR_FAKE_SCRIPT_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace longlora::testing {

class FakeScript {
 public:
  // Words are NAME=VALUE or NAME (then 1), parted by spaces or commas; words of other kinds are
  // ignored.
  explicit FakeScript(absl::string_view text);

  bool Has(const std::string& name) const { return values_.count(name) > 0; }
  int64_t Get(const std::string& name, int64_t otherwise) const;
  std::string GetText(const std::string& name, const std::string& otherwise) const;

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace longlora::testing

#endif  // LONGLORA_TESTS_WORKER_SUPERVISOR_FAKE_SCRIPT_H_
