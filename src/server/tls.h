// The server's certificate: TLS 1.2 and 1.3 by certificate files, read again when they are renewed.
//
// Thread-safe. A connection keeps the context that it began with.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <mutex>

namespace fathom::server {

class Certificate {
 public:
  /// `chain`: PEM, the server's certificate first; `key`: PEM, its private key. Errors: kInvalidArgument, names the file.
  Certificate(std::filesystem::path chain, std::filesystem::path key);

  /// The newest good one: files are looked at again every few seconds; new ones that cannot be used are logged and left.
  std::shared_ptr<boost::asio::ssl::context> context();

 private:
  using FileTimes = std::pair<std::filesystem::file_time_type, std::filesystem::file_time_type>;
  FileTimes times() const;
  std::shared_ptr<boost::asio::ssl::context> load() const;

  const std::filesystem::path chain_, key_;
  std::mutex mutex_;
  FileTimes loaded_;
  std::chrono::steady_clock::time_point looked_;
  std::shared_ptr<boost::asio::ssl::context> context_;
};

}  // namespace fathom::server
