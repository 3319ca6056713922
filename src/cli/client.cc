#include "cli/client.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/instance.h"

namespace fathom::cli {
namespace {

using nlohmann::json;

/// The address in the state folder, if the server that wrote it still answers there.
std::string find_running(const std::filesystem::path& state, Transport& transport) {
  if (!std::filesystem::exists(server_file(state))) return {};
  const json record = json::parse(read_file(server_file(state), 4096), nullptr, false);
  if (!record.is_object() || !record.contains("url") || !record["url"].is_string()) return {};
  HttpRequest probe;
  probe.url = record["url"].get<std::string>() + "/healthz";
  probe.timeout = std::chrono::milliseconds(2000);
  try {
    return transport.fetch(probe, {}).status == 200 ? record["url"].get<std::string>() : std::string();
  } catch (const Error&) {
    return {};  // it is gone: what it left is out of date
  }
}

json parse_response(const HttpResponse& response, std::string_view target) {
  const json body = json::parse(response.body, nullptr, false);
  if (response.status < 400 && !body.is_discarded()) return body;
  std::string sentence = fmt::format("the server answered {} with status {}", target, response.status);
  if (body.is_object() && body.contains("error") && body["error"].is_object())
    sentence = body["error"].value("message", sentence);
  throw Error(response.status == 401  ? ErrorCode::kUnauthenticated
              : response.status < 500 ? ErrorCode::kInvalidArgument
                                      : ErrorCode::kInternal,
              sentence);
}

}  // namespace

std::filesystem::path server_file(const std::filesystem::path& state) { return state / "server.json"; }

std::optional<json> running_status(const std::filesystem::path& state) {
  const auto transport = make_transport();
  HttpRequest request;
  request.url = find_running(state, *transport);
  if (request.url.empty()) return {};
  request.url += "/v1/status";
  if (const char* key = std::getenv("FATHOM_API_KEY"); key != nullptr && *key != '\0')
    request.headers["Authorization"] = fmt::format("Bearer {}", key);
  return parse_response(transport->fetch(request, {}), "/v1/status");
}

Client::Client(const std::filesystem::path& state, bool with_model) : transport_(make_transport()) {
  if (const char* key = std::getenv("FATHOM_API_KEY")) key_ = key;
  url_ = find_running(state, *transport_);
  if (!url_.empty()) return;
  InstanceOptions options;
  options.state = state;
  options.server.port = 0;
  options.sources = {};
  options.announce = false;
  if (!with_model) options.model = "none";
  options.embedding_model = "none";
  own_ = std::make_unique<Instance>(options);
  own_->start();
  url_ = own_->url();
}

Client::~Client() = default;

HttpRequest Client::request(const std::string& method, const std::string& target) const {
  HttpRequest out;
  out.method = method;
  out.url = url_ + target;
  out.timeout = std::chrono::minutes(10);
  if (!key_.empty()) out.headers["Authorization"] = "Bearer " + key_;
  return out;
}

json Client::get(const std::string& target) {
  return parse_response(transport_->fetch(request("GET", target), {}), target);
}

std::string Client::get_text(const std::string& target) {
  const HttpResponse response = transport_->fetch(request("GET", target), {});
  if (response.status >= 400) parse_response(response, target);
  return response.body;
}

json Client::post(const std::string& target, const std::string& body, const std::string& content_type) {
  HttpRequest call = request("POST", target);
  call.headers["Content-Type"] = content_type;
  call.body = body;
  return parse_response(transport_->fetch(call, {}), target);
}

json Client::remove(const std::string& target) {
  return parse_response(transport_->fetch(request("DELETE", target), {}), target);
}

void Client::follow(const std::string& target, const std::string& last_id,
                    const std::function<void(const Event&)>& on_event, const std::stop_token& stop) {
  HttpRequest call = request("GET", target);
  call.headers["Accept"] = "text/event-stream";
  if (!last_id.empty()) call.headers["Last-Event-ID"] = last_id;
  call.timeout = std::chrono::minutes(1);  // of silence; the server gives a sign of life more often
  std::string pending;
  const auto on_data = [&](std::string_view piece) {
    pending += piece;
    for (size_t end = 0; (end = pending.find("\n\n")) != std::string::npos; pending.erase(0, end + 2)) {
      Event event;
      for (const std::string_view line : split(std::string_view(pending).substr(0, end), '\n')) {
        if (line.starts_with("event: ")) event.name = line.substr(7);
        if (line.starts_with("id: ")) event.id = line.substr(4);
        if (line.starts_with("data: ")) event.data = line.substr(6);
      }
      if (!event.name.empty()) on_event(event);
    }
    return true;
  };
  const HttpResponse response = transport_->stream(call, on_data, stop);
  if (response.status >= 400) parse_response(response, target);
}

void Client::stream(const std::string& target, const std::string& body,
                    const std::function<void(const json&)>& on_event, const std::stop_token& stop) {
  HttpRequest call = request("POST", target);
  call.headers["Content-Type"] = "application/json";
  call.headers["Accept"] = "text/event-stream";
  call.body = body;
  std::string pending;
  const auto on_data = [&](std::string_view piece) {
    pending += piece;
    for (size_t end = 0; (end = pending.find("\n\n")) != std::string::npos; pending.erase(0, end + 2)) {
      const std::string_view frame = std::string_view(pending).substr(0, end);
      if (!frame.starts_with("data: ") || frame == "data: [DONE]") continue;
      const json event = json::parse(frame.substr(6), nullptr, false);
      if (event.is_discarded()) continue;
      if (event.contains("error"))
        throw Error(ErrorCode::kInternal, event["error"].value("message", "the answer broke off"));
      on_event(event);
    }
    return true;
  };
  const HttpResponse response = transport_->stream(call, on_data, stop);
  if (response.status >= 400) parse_response(response, target);
}

}  // namespace fathom::cli
