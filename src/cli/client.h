// The commands' way to the store and the assistant: over HTTP to the server that is running on the state folder, or, when none
// is, to one that the command starts for itself on a free loopback port. One path for both.
//
// Owned by the command. Thread safety: get, post, remove, follow and stream may run on any number of threads at once.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/transport.h"

namespace fathom::cli {

class Instance;

/// The file in the state folder by which a server says where it listens.
std::filesystem::path server_file(const std::filesystem::path& state);

/// What GET /v1/status of the server that runs on the folder says; empty when none does. Errors: the server's own.
std::optional<nlohmann::json> running_status(const std::filesystem::path& state);

class Client {
 public:
  /// Finds the running server or starts one. `with_model` false saves loading a model that the command does not use.
  /// The key for a server that asks for one is taken from $FATHOM_API_KEY.
  Client(const std::filesystem::path& state, bool with_model);
  ~Client();

  /// A JSON answer. Throws the server's own sentence for a status of 400 or above.
  nlohmann::json get(const std::string& target);
  /// An answer that is no JSON, whole. Errors: as get.
  std::string get_text(const std::string& target);
  nlohmann::json post(const std::string& target, const std::string& body, const std::string& content_type);
  nlohmann::json remove(const std::string& target);

  /// Follows a stream of named events from `last_id` on (empty: from now), until the server ends it or `stop`.
  struct Event {
    std::string name, id, data;
  };
  void follow(const std::string& target, const std::string& last_id,
              const std::function<void(const Event&)>& on_event, const std::stop_token& stop);

  /// Posts JSON and hands over each event's data of the answering stream.
  void stream(const std::string& target, const std::string& body,
              const std::function<void(const nlohmann::json&)>& on_event, const std::stop_token& stop);

 private:
  HttpRequest request(const std::string& method, const std::string& target) const;

  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Instance> own_;
  std::string url_;
  std::string key_;
};

}  // namespace fathom::cli
