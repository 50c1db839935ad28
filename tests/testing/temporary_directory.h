// A directory that vanishes with its owner.
#ifndef LONGLORA_TESTS_TESTING_TEMPORARY_DIRECTORY_H_
#define LONGLORA_TESTS_TESTING_TEMPORARY_DIRECTORY_H_

#include <string>

namespace longlora::testing {

class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace longlora::testing

#endif  // LONGLORA_TESTS_TESTING_TEMPORARY_DIRECTORY_H_
