// /v1/conversations: what was asked and answered before. OpenAI's API where it has one; listing, searching, exporting and deleting all
// are ours. Each caller sees those of its own API key's name.
#include "answer/conversations.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "server/api_error.h"
#include "server/context.h"
#include "server/conversation_export.h"
#include "server/json_body.h"
#include "server/kept_conversation.h"
#include "server/query_params.h"
#include "server/response_items.h"

namespace fathom::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMetadataPairs = 16, kMetadataName = 64, kMetadataValue = 512;
constexpr uint64_t kPageMost = 100, kPageUsual = 20;
constexpr size_t kMaxQueryBytes = 1024;

const std::string& id_of(const Request& request) { return *find_field(request.captures, "id"); }

struct Metadata {
  std::string title, text = "{}";
};

/// OpenAI's bounds: 16 pairs of short texts. "title" is the conversation's.
Metadata read_metadata(const JsonFields& fields) {
  Metadata out;
  const ordered_json* given = fields.find("metadata");
  if (given == nullptr) return out;
  const JsonFields pairs(*given, "metadata");
  if (given->size() > kMetadataPairs)
    fields.refuse("metadata", fmt::format("has more than {} members", kMetadataPairs));
  for (const auto& pair : given->items()) {
    if (!pair.value().is_string()) pairs.refuse_type(pair.key(), "a string");
    if (pair.key().size() > kMetadataName ||
        pair.value().get_ref<const std::string&>().size() > kMetadataValue)
      fields.refuse("metadata",
                    fmt::format("takes names of {} bytes and values of {}", kMetadataName, kMetadataValue));
  }
  out.title = pairs.text("title").value_or("");
  out.text = to_text(json(*given));
  return out;
}

std::vector<answer::ConversationItem> read_items(const JsonFields& fields,
                                                 const answer::Conversations& store) {
  std::vector<answer::ConversationItem> out;
  for (const auto& item : read_conversation_items(fields))
    out.push_back(kept_item(json(item), store.limits().item_bytes));
  return out;
}

json item_json(const answer::ConversationItem& item) {
  json out = json::parse(item.body, nullptr, false);
  return out.is_object() ? out : json{{"type", "message"}, {"id", item.id}, {"role", item.role}};
}

/// OpenAI's list, and whether there is more than it.
json list_json(json data, bool more) {
  const json first = data.empty() ? json(nullptr) : data.front()["id"];
  const json last = data.empty() ? json(nullptr) : data.back()["id"];
  return {{"object", "list"},
          {"data", std::move(data)},
          {"first_id", first},
          {"last_id", last},
          {"has_more", more}};
}

size_t page_size(const Request& request) {
  return static_cast<size_t>(number_param(request, "limit", 1, kPageMost).value_or(kPageUsual));
}

answer::Conversation existing(const Context& context, const Request& request) {
  auto found = conversations_of(context).find(request.key, id_of(request));
  if (!found) throw conversation_not_found(id_of(request));
  return std::move(*found);
}

Response create(const Context& context, const Request& request) {
  answer::Conversations& store = conversations_of(context);
  const ordered_json body = request.body.empty() ? ordered_json::object() : parse_json(request.body);
  const JsonFields fields(body, "");
  const Metadata metadata = read_metadata(fields);
  std::vector<answer::ConversationItem> items;
  if (const ordered_json* given = fields.find("items");
      given != nullptr && !(given->is_array() && given->empty()))
    items = read_items(fields, store);
  return json_response(conversation_json(store.create(request.key, metadata.title, metadata.text, items)));
}

Response list(const Context& context, const Request& request) {
  const answer::Conversations& store = conversations_of(context);
  const size_t most = page_size(request);
  const std::string after = text_param(request, "after").value_or("");
  if (!after.empty() && !store.find(request.key, after)) throw conversation_not_found(after);
  const auto words = text_param(request, "q");
  if (words && words->size() > kMaxQueryBytes)
    throw ApiError(400, fmt::format("q is longer than {} bytes", kMaxQueryBytes), "invalid_value", "q");
  json data = json::array();
  if (words) {
    for (const auto& found : store.search(request.key, *words, after, most + 1)) {
      data.push_back(conversation_json(found.conversation));
      data.back()["snippet"] = found.snippet;
    }
  } else {
    for (const auto& found : store.list(request.key, after, most + 1))
      data.push_back(conversation_json(found));
  }
  const bool more = data.size() > most;
  if (more) data.erase(data.size() - 1);
  return json_response(list_json(std::move(data), more));
}

Response show(const Context& context, const Request& request) {
  return json_response(conversation_json(existing(context, request)));
}

Response update(const Context& context, const Request& request) {
  const auto body = parse_json(request.body);
  const JsonFields fields(body, "");
  if (!fields.has("metadata")) fields.refuse("metadata", "is missing", 400, "missing_value");
  const Metadata metadata = read_metadata(fields);
  const auto changed =
      conversations_of(context).describe(request.key, id_of(request), metadata.title, metadata.text);
  if (!changed) throw conversation_not_found(id_of(request));
  return json_response(conversation_json(*changed));
}

Response remove(const Context& context, const Request& request) {
  if (!conversations_of(context).remove(request.key, id_of(request)))
    throw conversation_not_found(id_of(request));
  return json_response({{"id", id_of(request)}, {"object", "conversation.deleted"}, {"deleted", true}});
}

Response remove_all(const Context& context, const Request& request) {
  return json_response(
      {{"object", "conversations.deleted"}, {"deleted", conversations_of(context).remove_all(request.key)}});
}

Response list_items(const Context& context, const Request& request) {
  existing(context, request);
  auto items = conversations_of(context).items(request.key, id_of(request));
  const std::string order = text_param(request, "order").value_or("desc");
  if (order != "asc" && order != "desc")
    throw ApiError(400, "order must be \"asc\" or \"desc\"", "invalid_value", "order");
  if (order == "desc") std::reverse(items.begin(), items.end());
  auto from = items.begin();
  if (const auto after = text_param(request, "after")) {
    from = std::find_if(items.begin(), items.end(), [&](const auto& item) { return item.id == *after; });
    if (from == items.end())
      throw ApiError(400, "after must be the id of an item of the conversation", "invalid_value", "after");
    ++from;
  }
  const size_t most = page_size(request);
  json data = json::array();
  for (; from != items.end() && data.size() < most; ++from) data.push_back(item_json(*from));
  return json_response(list_json(std::move(data), from != items.end()));
}

Response add_items(const Context& context, const Request& request) {
  answer::Conversations& store = conversations_of(context);
  const auto body = parse_json(request.body);
  const auto items = read_items(JsonFields(body, ""), store);
  if (!store.append(request.key, id_of(request), items)) throw conversation_not_found(id_of(request));
  json data = json::array();
  for (const auto& item : items) data.push_back(item_json(item));
  return json_response(list_json(std::move(data), false));
}

ApiError item_not_found(const Request& request) {
  return {404,
          fmt::format("the conversation has no item \"{}\"",
                      sanitize_utf8(find_field(request.captures, "item")->substr(0, 100))),
          "item_not_found", "item_id"};
}

Response show_item(const Context& context, const Request& request) {
  existing(context, request);
  for (const auto& item : conversations_of(context).items(request.key, id_of(request)))
    if (item.id == *find_field(request.captures, "item")) return json_response(item_json(item));
  throw item_not_found(request);
}

Response remove_item(const Context& context, const Request& request) {
  existing(context, request);
  if (!conversations_of(context).remove_item(request.key, id_of(request),
                                             *find_field(request.captures, "item")))
    throw item_not_found(request);
  return show(context, request);
}

Response export_one(const Context& context, const Request& request) {
  const std::string format = text_param(request, "format").value_or("markdown");
  if (format != "markdown" && format != "json")
    throw ApiError(400, "format must be \"markdown\" or \"json\"", "invalid_value", "format");
  const json conversation = conversation_json(existing(context, request));
  std::vector<json> items;
  for (const auto& item : conversations_of(context).items(request.key, id_of(request)))
    items.push_back(item_json(item));
  const bool markdown = format == "markdown";
  Response out;
  if (markdown) {
    out.content_type = "text/markdown; charset=utf-8";
    out.body = sanitize_utf8(to_markdown(conversation, items));
  } else {
    out =
        json_response({{"object", "conversation.export"}, {"conversation", conversation}, {"items", items}});
  }
  out.headers.emplace_back("Content-Disposition",
                           fmt::format("attachment; filename=\"{}.{}\"",
                                       conversation["id"].get<std::string>(), markdown ? "md" : "json"));
  return out;
}

using Answer = Response (*)(const Context&, const Request&);

Handler answer_with(const Context& context, Answer answer) {
  return [&context, answer](const Request& request, const std::shared_ptr<Reply>& reply) {
    try {
      reply->send(answer(context, request));
    } catch (const Error& error) {
      throw_conversation_error(error);
    }
  };
}

}  // namespace

void add_conversation_routes(Router& router, const Context& context) {
  const std::string all = "/v1/conversations", one = "/v1/conversations/{id}", items = one + "/items";
  const auto add = [&](const char* method, const std::string& pattern, Answer answer, size_t max_body = 0) {
    router.add({.method = method,
                .pattern = pattern,
                .name = "conversations",
                .max_body = max_body,
                .json_body = max_body > 0 && pattern != all,  // one may be begun with nothing
                .handler = answer_with(context, answer)});
  };
  const size_t body = context.options.limits.chat_body_bytes;
  add("GET", items + "/{item}", show_item);
  add("DELETE", items + "/{item}", remove_item);
  add("GET", items, list_items);
  add("POST", items, add_items, body);
  add("GET", one + "/export", export_one);
  add("GET", one, show);
  add("POST", one, update, body);
  add("DELETE", one, remove);
  add("GET", all, list);
  add("POST", all, create, body);
  add("DELETE", all, remove_all);
}

}  // namespace fathom::server
