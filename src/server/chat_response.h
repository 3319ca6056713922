// Answers of POST /v1/chat/completions as JSON: OpenAI's objects, xAI's citations, and the member "fathom" with what the
// page shows. Every offset on the wire counts Unicode code points.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "answer/assistant.h"

namespace fathom::server {

/// What all chunks of one answer, or its one object, have in common.
struct ChatIdentity {
  std::string id;           // "chatcmpl-..."
  int64_t created = 0;      // seconds since 1970
  std::string model;        // as asked for
  std::string fingerprint;  // of the program: the same seed gives the same answer while it stays
};

/// How an answer is shown.
struct ChatView {
  bool grounded = true;          // made by the assistant: usage.num_sources_used and "fathom" are there
  bool return_citations = true;  // else no citations, annotations and posts
};

/// Code points before byte `offset` of `text` (clamped to its end).
size_t code_points_before(std::string_view text, size_t offset);

/// Its address can be linked to.
bool has_web_address(const live::Post& post);
/// "@handle: the beginning of the post ..."
std::string post_title(const live::Post& post);

std::string_view finish_reason(infer::FinishReason finish);

/// URLs of the cited posts, each once, in order of first appearance; posts without an http(s) address have none.
nlohmann::json citation_urls(const std::vector<answer::Citation>& citations);
/// [{type:"url_citation", url_citation:{url, title, start_index, end_index}}]
nlohmann::json annotations_json(const std::vector<answer::Citation>& citations, std::string_view text);
/// The citations of "fathom". `text` holds at least all that they point to.
nlohmann::json citations_json(const std::vector<answer::Citation>& citations, std::string_view text);
nlohmann::json step_json(const answer::Step& step);
nlohmann::json posts_json(const std::vector<live::Post>& posts);
/// The member "fathom" of a finished answer, without `read`.
nlohmann::json outcome_json(const answer::Answer& answer, const ChatView& view);
/// Distinct documents that were read or cited.
size_t sources_used(const answer::Answer& answer);
nlohmann::json usage_json(const answer::Answer& answer, const ChatView& view);
/// OpenAI's object with all of its details; `reasoning` is part of `completion`.
nlohmann::json completion_usage_json(size_t prompt, size_t cached, size_t completion, size_t reasoning);

/// The object "chat.completion".
nlohmann::json completion_json(const ChatIdentity& identity, const answer::Answer& answer,
                               const ChatView& view);
/// An object "chat.completion.chunk" with one choice; `finish` may be empty (null).
nlohmann::json chunk_json(const ChatIdentity& identity, size_t choice, nlohmann::json delta,
                          std::string_view finish);

}  // namespace fathom::server
