#include "live/sources/bluesky_record.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "live/sources/bluesky_event.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kMaxFacets = 256;
constexpr size_t kMaxImages = 16;

/// A piece of the text that links somewhere, in bytes.
struct LinkSpan {
  size_t begin = 0, end = 0;
  std::string_view uri;
};

bool is_boundary(std::string_view text, size_t at) {
  return at <= text.size() && (at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80);
}

/// Calls visit(begin, end, feature) for each feature of each facet that lies within the text.
template <class Visit>
void each_feature(const json& facets, std::string_view text, Visit visit) {
  for (size_t i = 0; facets.is_array() && i < std::min(facets.size(), kMaxFacets); ++i) {
    const json& index = member(facets[i], "index");
    const auto begin = number_of(member(index, "byteStart")), end = number_of(member(index, "byteEnd"));
    if (!begin || !end || *begin >= *end || static_cast<uint64_t>(*end) > text.size()) continue;
    const auto first = static_cast<size_t>(*begin), last = static_cast<size_t>(*end);
    if (!is_boundary(text, first) || !is_boundary(text, last)) continue;
    const json& features = member(facets[i], "features");
    for (size_t j = 0; features.is_array() && j < std::min<size_t>(features.size(), 8); ++j)
      visit(first, last, features[j]);
  }
}

/// Whether the text shows the beginning of an address instead of the whole: "example.org/a-long..."
bool is_shortened(std::string_view shown, std::string_view uri) {
  for (const std::string_view ellipsis : {"...", "\xE2\x80\xA6"})
    if (shown.ends_with(ellipsis)) {
      shown.remove_suffix(ellipsis.size());
      return !shown.empty() && uri.find(shown) != std::string_view::npos;
    }
  return false;
}

/// Shortened addresses give way to whole ones, as in posts of other sources.
std::string with_whole_links(std::string_view text, std::vector<LinkSpan> spans) {
  std::stable_sort(spans.begin(), spans.end(),
                   [](const LinkSpan& a, const LinkSpan& b) { return a.begin < b.begin; });
  std::string out;
  size_t at = 0;
  for (const LinkSpan& span : spans) {
    const bool overlaps = span.begin < at;
    if (overlaps || !is_shortened(text.substr(span.begin, span.end - span.begin), span.uri)) continue;
    out.append(text, at, span.begin - at).append(span.uri);
    at = span.end;
  }
  return out.append(text, at);
}

void read_text(const json& record, Post& post) {
  const std::string_view text = text_of(record, "text");
  std::vector<LinkSpan> spans;
  each_feature(member(record, "facets"), text, [&](size_t begin, size_t end, const json& feature) {
    const std::string_view type = text_of(feature, "$type");
    if (type == "app.bsky.richtext.facet#tag") add_tag(post, text_of(feature, "tag"));
    if (type != "app.bsky.richtext.facet#link") return;
    const size_t links = post.links.size();
    add_link(post, text_of(feature, "uri"));
    if (post.links.size() > links) spans.push_back({begin, end, text_of(feature, "uri")});
  });
  post.text = with_whole_links(text, std::move(spans));
}

/// A post may consist of a card or of pictures alone: then their words are its text.
void read_wordless(const json& external, const json& media, Post& post) {
  const auto add = [&](std::string_view words) {
    if (words.empty()) return;
    if (!post.text.empty()) post.text += '\n';
    post.text += words;
  };
  add(text_of(external, "title"));
  add(text_of(external, "description"));
  const json& images = member(media, "images");
  for (size_t i = 0; images.is_array() && i < std::min(images.size(), kMaxImages); ++i)
    add(text_of(images[i], "alt"));
}

void read_embed(const json& embed, Post& post) {
  const bool with_media = text_of(embed, "$type") == "app.bsky.embed.recordWithMedia";
  const json& media = with_media ? member(embed, "media") : embed;
  const json& record = with_media ? member(member(embed, "record"), "record") : member(embed, "record");
  post.quote_of = bluesky_post_id(text_of(record, "uri"));
  const json& external = member(media, "external");
  add_link(post, text_of(external, "uri"));
  if (trim(post.text).empty()) read_wordless(external, media, post);
}

/// Labels that authors put on their own posts warn of content, but for those that begin with '!', which are orders to apps.
bool is_labelled(const json& labels) {
  const json& values = member(labels, "values");
  return values.is_array() && std::any_of(values.begin(), values.end(), [](const json& label) {
           const std::string_view value = text_of(label, "val");
           return !value.empty() && value.front() != '!';
         });
}

}  // namespace

void read_bluesky_record(const json& record, Post& post) {
  read_text(record, post);
  read_embed(member(record, "embed"), post);
  cut_text(post.text);
  const json& tags = member(record, "tags");
  for (size_t i = 0; tags.is_array() && i < tags.size(); ++i) add_tag(post, text_of(tags[i]));
  const json& langs = member(record, "langs");
  if (langs.is_array() && !langs.empty()) post.lang = text_of(langs[0]);
  post.reply_to = bluesky_post_id(text_of(member(member(record, "reply"), "parent"), "uri"));
  post.sensitive = is_labelled(member(record, "labels"));
}

}  // namespace fathom::live
