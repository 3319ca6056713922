#include "server/response_writer.h"

#include <nlohmann/json.hpp>

#include "server/response_items.h"

namespace fathom::server {

using nlohmann::json;

ResponseWriter::ResponseWriter(json head, EventStream* events)
    : response_(std::make_unique<json>(std::move(head))), events_(events) {
  json& response = *response_;
  response["status"] = "in_progress";
  response["output"] = json::array();
  response["error"] = nullptr;
  response["incomplete_details"] = nullptr;
  response["usage"] = nullptr;
}

ResponseWriter::~ResponseWriter() = default;

void ResponseWriter::begin() {
  if (begun_) return;
  begun_ = true;
  if (events_ != nullptr) events_->open();
  send_response("response.created");
  send_response("response.in_progress");
}

bool ResponseWriter::text(std::string_view delta, const json& logprobs) {
  if (open_ != Open::kMessage) {
    open(Open::kMessage,
         {{"type", "message"}, {"id", item_id("msg_")}, {"role", "assistant"}, {"status", "in_progress"}});
    const json part = {
        {"type", "output_text"}, {"text", ""}, {"annotations", json::array()}, {"logprobs", json::array()}};
    current()["content"].push_back(part);
    json added = place("response.content_part.added");
    added["content_index"] = 0;
    added["part"] = part;
    send(std::move(added));
  }
  json& part = current()["content"][0];
  part["text"].get_ref<std::string&>() += delta;
  for (const auto& entry : logprobs) part["logprobs"].push_back(entry);
  if (delta.empty() && logprobs.empty()) return true;
  json event = place("response.output_text.delta");
  event["content_index"] = 0;
  event["delta"] = delta;
  event["logprobs"] = logprobs;
  return send(std::move(event));
}

bool ResponseWriter::annotate(const json& annotation) {
  if (open_ != Open::kMessage) text("", json::array());
  json& list = current()["content"][0]["annotations"];
  json event = place("response.output_text.annotation.added");
  event["content_index"] = 0;
  event["annotation_index"] = list.size();
  event["annotation"] = annotation;
  list.push_back(annotation);
  return send(std::move(event));
}

bool ResponseWriter::reasoning(std::string_view delta) {
  if (open_ != Open::kReasoning) {
    open(Open::kReasoning, {{"type", "reasoning"},
                            {"id", item_id("rs_")},
                            {"status", "in_progress"},
                            {"summary", json::array()}});
    const json part = {{"type", "reasoning_text"}, {"text", ""}};
    current()["content"].push_back(part);
    json added = place("response.content_part.added");
    added["content_index"] = 0;
    added["part"] = part;
    send(std::move(added));
  }
  current()["content"][0]["text"].get_ref<std::string&>() += delta;
  json event = place("response.reasoning_text.delta");
  event["content_index"] = 0;
  event["delta"] = delta;
  return send(std::move(event));
}

bool ResponseWriter::call(const std::string& call_id, const std::string& name) {
  return open(Open::kCall, {{"type", "function_call"},
                            {"id", item_id("fc_")},
                            {"call_id", call_id},
                            {"name", name},
                            {"arguments", ""},
                            {"status", "in_progress"}});
}

bool ResponseWriter::arguments(std::string_view delta) {
  if (open_ != Open::kCall || delta.empty()) return true;
  current()["arguments"].get_ref<std::string&>() += delta;
  json event = place("response.function_call_arguments.delta");
  event["delta"] = delta;
  return send(std::move(event));
}

bool ResponseWriter::item(const json& item) {
  close();
  begin();
  json& output = (*response_)["output"];
  output.push_back(item);
  const size_t index = output.size() - 1;
  json running = item;
  running["status"] = "in_progress";
  send({{"type", "response.output_item.added"}, {"output_index", index}, {"item", running}});
  return send({{"type", "response.output_item.done"}, {"output_index", index}, {"item", item}});
}

void ResponseWriter::add(const json& members) { response_->update(members); }

void ResponseWriter::finish(bool incomplete, const json& extra, const std::function<void()>& whole) {
  begin();
  close(incomplete ? "incomplete" : "completed");
  json& response = *response_;
  response["status"] = incomplete ? "incomplete" : "completed";
  if (incomplete) response["incomplete_details"] = {{"reason", "max_output_tokens"}};
  response.update(extra);
  whole();
  send_response(incomplete ? "response.incomplete" : "response.completed");
}

void ResponseWriter::fail(const ApiError& error) {
  begin();
  json& response = *response_;
  response["status"] = "failed";
  response["error"] = {{"code", error.code.empty() ? "server_error" : error.code}, {"message", error.what()}};
  send_response("response.failed");
}

bool ResponseWriter::open(Open kind, json item) {
  begin();
  close();
  open_ = kind;
  if (kind == Open::kMessage || kind == Open::kReasoning) item["content"] = json::array();
  (*response_)["output"].push_back(item);
  json event = place("response.output_item.added");
  event.erase("item_id");
  event["item"] = std::move(item);
  return send(std::move(event));
}

/// Ends the open item, with the events that tell it whole.
void ResponseWriter::close(const char* status) {
  if (open_ == Open::kNothing) return;
  json& item = current();
  item["status"] = status;
  if (open_ == Open::kCall) {
    json done = place("response.function_call_arguments.done");
    done["name"] = item["name"];
    done["arguments"] = item["arguments"];
    send(std::move(done));
  } else {
    const json& part = item["content"][0];
    json done = place(open_ == Open::kMessage ? "response.output_text.done" : "response.reasoning_text.done");
    done["content_index"] = 0;
    done["text"] = part["text"];
    if (open_ == Open::kMessage) done["logprobs"] = part["logprobs"];
    send(std::move(done));
    json part_done = place("response.content_part.done");
    part_done["content_index"] = 0;
    part_done["part"] = part;
    send(std::move(part_done));
  }
  json done = place("response.output_item.done");
  done.erase("item_id");
  done["item"] = item;
  send(std::move(done));
  open_ = Open::kNothing;
}

/// An event about the open item.
json ResponseWriter::place(const char* type) const {
  const json& output = (*response_)["output"];
  return {{"type", type}, {"item_id", output.back()["id"]}, {"output_index", output.size() - 1}};
}

json& ResponseWriter::current() { return (*response_)["output"].back(); }

bool ResponseWriter::send(json event) {
  if (events_ == nullptr) return true;
  event["sequence_number"] = sequence_++;
  return events_->send_named(event);
}

bool ResponseWriter::send_response(const char* type) {
  if (events_ == nullptr) return true;
  return send({{"type", type}, {"response", *response_}});
}

}  // namespace fathom::server
