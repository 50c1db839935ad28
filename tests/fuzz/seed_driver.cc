// Goal: inputs that once broke a parser, and the shapes a fuzzer starts from, break nothing.
// Method: main() of a fuzz target in builds without libFuzzer: calls it once with each file of the
// directories given, and with every prefix of a short one.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kPrefixesOfAtMost = 4096;  // bytes

std::vector<std::filesystem::path> FilesIn(const char* directory) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.is_regular_file(error)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Of exact size, so that reading past the end is seen by a sanitizer.
void Run(const std::string& text, size_t size) {
  const std::vector<uint8_t> exact(text.begin(), text.begin() + static_cast<ptrdiff_t>(size));
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int argc, char** argv) {
  size_t seeds = 0;
  for (int i = 1; i < argc; ++i) {
    for (const std::filesystem::path& path : FilesIn(argv[i])) {
      std::cout << path.filename().string() << std::endl;  // flushed: the last one named crashed
      std::ifstream file(path, std::ios::binary);
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      Run(text, text.size());
      for (size_t size = 0; text.size() <= kPrefixesOfAtMost && size < text.size(); ++size) {
        Run(text, size);
      }
      ++seeds;
    }
  }
  std::cout << seeds << " seeds\n";
  return seeds == 0 ? 1 : 0;  // a lost corpus must not pass
}
