#include "server/tls.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"

namespace fathom::server {
namespace {

namespace ssl = boost::asio::ssl;
constexpr auto kLookAgain = std::chrono::seconds(5);

[[noreturn]] void refuse(const std::filesystem::path& file, const boost::system::error_code& error) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("'{}' cannot be used for TLS: {}; give PEM files, the certificate chain and its key",
                  file.string(), error.message()));
}

}  // namespace

Certificate::Certificate(std::filesystem::path chain, std::filesystem::path key)
    : chain_(std::move(chain)),
      key_(std::move(key)),
      loaded_(times()),
      looked_(std::chrono::steady_clock::now()) {
  context_ = load();
}

std::shared_ptr<ssl::context> Certificate::context() {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_ < kLookAgain) return context_;
  looked_ = now;
  const FileTimes found = times();
  if (found == loaded_) return context_;
  loaded_ = found;
  try {
    context_ = load();
    log().info("the TLS certificate was read again");
  } catch (const Error& error) {
    log().warn("the TLS certificate stays the one it was: {}", error.what());
  }
  return context_;
}

Certificate::FileTimes Certificate::times() const {
  std::error_code ignored;
  return {std::filesystem::last_write_time(chain_, ignored), std::filesystem::last_write_time(key_, ignored)};
}

std::shared_ptr<ssl::context> Certificate::load() const {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                       ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
  boost::system::error_code error;
  context->use_certificate_chain_file(chain_.string(), error);
  if (error) refuse(chain_, error);
  context->use_private_key_file(key_.string(), ssl::context::pem, error);
  if (error) refuse(key_, error);
  if (SSL_CTX_check_private_key(context->native_handle()) != 1)
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("the key in '{}' is not that of the certificate in '{}'", key_.string(),
                            chain_.string()));
  return context;
}

}  // namespace fathom::server
