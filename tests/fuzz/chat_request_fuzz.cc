// Covers the body of POST /v1/chat/completions with its search_parameters, its fathom object and its conversation.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "server/api_error.h"
#include "server/chat_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  try {
    const auto request = server::parse_chat_request({reinterpret_cast<const char*>(data), size});
    FATHOM_CHECK(!request.model.empty() && !request.conversation.plain.empty() && request.stop.size() <= 4);
    for (const auto& message : request.conversation.plain) FATHOM_CHECK(is_valid_utf8(message.content));
    const auto sampling = request.sampling.over({});
    FATHOM_CHECK(sampling.temperature >= 0 && sampling.temperature <= 2);
    FATHOM_CHECK(sampling.top_p > 0 && sampling.top_p <= 1);
    answer::Request ask;
    request.feed.apply_to(ask);
    FATHOM_CHECK(ask.rounds >= 1 && ask.rounds <= 12 && ask.style.size() <= 40);
    FATHOM_CHECK((ask.mode == answer::Mode::kExplain) == !ask.subject.empty());
    FATHOM_CHECK(!request.kept || (request.kept->id.size() <= 128 && request.choices == 1));
    if (!request.search) return 0;
    FATHOM_CHECK(request.search->max_results >= 1 && request.search->max_results <= 50);
    FATHOM_CHECK(request.search->handles.size() <= 10 && request.search->not_handles.size() <= 10);
    if (request.search->from && request.search->to) FATHOM_CHECK(*request.search->from < *request.search->to);
  } catch (const server::ApiError& error) {
    FATHOM_CHECK(error.status == 400 || error.status == 422);
    FATHOM_CHECK(!server::error_response(error).body.empty());
  }
  return 0;
}
