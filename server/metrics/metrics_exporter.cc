#include "server/metrics/metrics_exporter.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longlora::server {

absl::StatusOr<std::unique_ptr<MetricsExporter>> MetricsExporter::Start(
    const std::string& listen, std::shared_ptr<prometheus::Collectable> metrics) {
  // civetweb reports a port that is taken by an exception; it goes no further than here.
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(listen);
    exposer->RegisterCollectable(metrics);
    return std::unique_ptr<MetricsExporter>(
        new MetricsExporter(std::move(metrics), std::move(exposer)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot serve metrics on ", listen, ": ",
                                               error.what(),
                                               "; is the port taken? (--metrics-listen)"));
  }
}

}  // namespace longlora::server
