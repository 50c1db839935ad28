// The message of a failed call into text/longlora_text.h, and its way of passing text.
#ifndef LONGLORA_WORKER_TRAINER_DATA_TEXT_ERROR_H_
#define LONGLORA_WORKER_TRAINER_DATA_TEXT_ERROR_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "text/longlora_text.h"

namespace longlora::trainer {

inline const uint8_t* TextBytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// Frees `error`, which may be null.
inline std::string TakeTextError(char* error) {
  std::string message = error == nullptr ? "unknown cause" : error;
  longlora_string_free(error);
  return message;
}

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_TEXT_ERROR_H_
