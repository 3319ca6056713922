// Writes a response item by item: the object that it becomes and, for a stream, the events on the way, in the order that
// OpenAI's and xAI's clients take.
//
// response.created, response.in_progress; for each item response.output_item.added, what it is made of, and
// response.output_item.done; response.completed, response.incomplete or response.failed. One item is open at a time.
// Used by one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "infer/engine.h"
#include "server/api_error.h"
#include "server/event_stream.h"

namespace fathom::server {

class ResponseWriter {
 public:
  /// `head`: the response but for status, output, usage, error, incomplete_details. `events`: null for a response that is
  /// sent whole; outlives this.
  ResponseWriter(nlohmann::json head, EventStream* events);
  ~ResponseWriter();

  /// The first events; all below do it when it was not done.
  void begin();
  bool begun() const { return begun_; }

  // False: the client is gone.
  bool text(std::string_view delta, const nlohmann::json& logprobs);
  bool annotate(const nlohmann::json& annotation);
  bool reasoning(std::string_view delta);
  /// A call of a function, whose arguments follow.
  bool call(const std::string& call_id, const std::string& name);
  bool arguments(std::string_view delta);
  /// An item that is complete at once: a search that was made.
  bool item(const nlohmann::json& item);

  /// Further members of the response; told with its next whole form.
  void add(const nlohmann::json& members);
  /// Closes what is open and completes the response. `incomplete`: it was cut off by the limit of tokens. `extra`: further
  /// members of the response (usage among them). `whole` is called when the response is, before its last event.
  void finish(bool incomplete, const nlohmann::json& extra, const std::function<void()>& whole);
  void fail(const ApiError& error);

  const nlohmann::json& response() const { return *response_; }

 private:
  enum class Open { kNothing, kMessage, kReasoning, kCall };

  bool open(Open kind, nlohmann::json item);
  void close(const char* status = "completed");
  bool send(nlohmann::json event);
  bool send_response(const char* type);
  nlohmann::json place(const char* type) const;
  nlohmann::json& current();

  std::unique_ptr<nlohmann::json> response_;
  EventStream* events_;
  bool begun_ = false;
  Open open_ = Open::kNothing;
  uint64_t sequence_ = 0;
};

}  // namespace fathom::server
