#include "live/sources/feed_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/error.h"
#include "base/text.h"
#include "base/url.h"
#include "live/source_html.h"
#include "live/sources/feed_http.h"
#include "live/sources/feed_xml.h"
#include "live/sources/post_fields.h"

namespace fathom::live {
namespace {

using nlohmann::json;

constexpr size_t kMaxEntries = 2000;
constexpr size_t kMaxIdBytes = 4096;
constexpr size_t kMaxNameBytes = 500;
constexpr size_t kMaxTitleBytes = 4096;
constexpr size_t kMaxLangBytes = 35;
constexpr size_t kMaxContentBytes = 16 * 1024;  // of an entry without a summary
constexpr size_t kMaxHtmlBytes = 128 * 1024;

std::string_view cut(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  text = text.substr(0, most);
  return text.substr(0, text.size() - incomplete_utf8_tail(text));
}

std::string language(std::string_view text) {
  text = trim(text);
  const bool fits =
      text.size() <= kMaxLangBytes && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
      });
  return fits ? std::string(text) : std::string();
}

/// "ada@example.org (Ada)" is Ada, "Ada <ada@example.org>" too.
std::string person(std::string_view text) {
  text = trim(text);
  const size_t open = text.find('(');
  if (open != std::string_view::npos && text.ends_with(')') &&
      text.substr(0, open).find('@') != std::string_view::npos)
    text = text.substr(open + 1, text.size() - open - 2);
  if (const size_t angle = text.find('<'); angle != std::string_view::npos && angle > 0)
    text = text.substr(0, angle);
  return one_line(text, kMaxNameBytes);
}

std::string child_text(const XmlNode& node, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names)
    if (const XmlNode* child = node.child(name))
      if (std::string text = child->content(); !text.empty()) return text;
  return {};
}

/// A plain field; some feeds put references, or markup, into it twice over.
std::string plain(const std::string& text, size_t most) {
  return one_line(
      text.find('<') == std::string::npos ? decode_html_references(text) : html_to_text(text).text, most);
}

std::string digest_of(std::string_view text) {
  Digest digest(DigestKind::kSha256);
  digest.update(text);
  return digest.finish().substr(0, 32);
}

/// What the format must not leave out.
void complete(FeedEntry& entry) {
  if (entry.id.empty()) entry.id = entry.link;
  if (entry.id.empty()) entry.id = digest_of(entry.title + '\n' + entry.html);
  if (entry.id.size() > kMaxIdBytes) entry.id = digest_of(entry.id);
}

// --- RSS

std::optional<Time> first_date(const XmlNode& item, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names)
    if (const XmlNode* child = item.child(name))
      if (const auto time = parse_feed_date(child->content())) return time;
  return {};
}

/// The summary tells what an entry is about; where there is none, the beginning of the content does.
std::string summary_or(std::string summary, const std::string& content) {
  if (summary.empty()) summary = cut(content, kMaxContentBytes);
  return std::string(cut(summary, kMaxHtmlBytes));
}

FeedEntry rss_entry(const XmlNode& item, const std::string& base) {
  FeedEntry entry;
  entry.title = plain(child_text(item, {"title", "dc:title"}), kMaxTitleBytes);
  entry.html = summary_or(child_text(item, {"description", "dc:description", "itunes:summary"}),
                          child_text(item, {"content:encoded", "xhtml:body"}));
  entry.link = resolve_link(base, child_text(item, {"link"}));
  if (const XmlNode* guid = item.child("guid")) {
    entry.id = guid->content();
    const bool permalink = !equals_ignore_case(guid->attribute("isPermaLink"), "false");
    if (entry.link.empty() && permalink) entry.link = resolve_link(base, entry.id);
  }
  if (entry.id.empty()) entry.id = item.attribute("rdf:about");
  for (const XmlNode& child : item.children) {
    if (child.name == "atom:link" && entry.link.empty())
      entry.link = resolve_link(base, child.attribute("href"));
    if (child.name == "category" || child.name == "dc:subject")
      entry.tags.push_back(plain(child.content(), kMaxNameBytes));
    if (child.name == "enclosure") entry.links.push_back(resolve_link(base, child.attribute("url")));
  }
  entry.author = person(child_text(item, {"dc:creator", "author", "itunes:author", "atom:author"}));
  entry.lang = language(child_text(item, {"dc:language"}));
  entry.published =
      first_date(item, {"pubDate", "dc:date", "published", "atom:published", "dcterms:created",
                        "dcterms:issued", "date", "atom:updated", "dcterms:modified", "lastBuildDate"});
  complete(entry);
  return entry;
}

/// How long a period of RSS 1.0's syndication module is.
std::optional<std::chrono::minutes> syndication_period(const XmlNode& channel) {
  constexpr std::array<std::pair<std::string_view, int>, 5> kPeriods = {
      {{"hourly", 60}, {"daily", 1440}, {"weekly", 10080}, {"monthly", 43200}, {"yearly", 525600}}};
  const std::string period = to_lower_ascii(child_text(channel, {"sy:updatePeriod"}));
  for (const auto& [name, minutes] : kPeriods) {
    if (name != period) continue;
    const int times = std::atoi(child_text(channel, {"sy:updateFrequency"}).c_str());
    return std::chrono::minutes(minutes / std::clamp(times, 1, 1000));
  }
  return {};
}

void read_schedule(const XmlNode& channel, FeedDocument& feed) {
  constexpr std::array<std::string_view, 7> kDays = {"sunday",   "monday", "tuesday", "wednesday",
                                                     "thursday", "friday", "saturday"};
  int minutes = 0;
  const std::string ttl = child_text(channel, {"ttl"});
  const auto [end, ec] = std::from_chars(ttl.data(), ttl.data() + ttl.size(), minutes);
  if (ec == std::errc{} && minutes > 0) feed.ttl = std::chrono::minutes(minutes);
  if (!feed.ttl) feed.ttl = syndication_period(channel);
  if (const XmlNode* hours = channel.child("skipHours"))
    for (const XmlNode& hour : hours->children) {
      const int number = std::atoi(hour.content().c_str());
      if (hour.name == "hour" && number >= 0 && number <= 24)
        feed.skip_hours.set(static_cast<size_t>(number % 24));
    }
  if (const XmlNode* days = channel.child("skipDays"))
    for (const XmlNode& day : days->children)
      for (size_t i = 0; i < kDays.size(); ++i)
        if (equals_ignore_case(day.content(), kDays[i])) feed.skip_days.set(i);
}

FeedDocument rss_feed(const XmlNode& root, const std::string& address) {
  FeedDocument feed;
  const XmlNode* channel = root.child("channel");
  if (channel == nullptr) channel = &root;
  feed.title = plain(child_text(*channel, {"title"}), kMaxNameBytes);
  feed.link = resolve_link(address, child_text(*channel, {"link"}));
  feed.lang = language(child_text(*channel, {"language", "dc:language"}));
  read_schedule(*channel, feed);
  const std::string& base = feed.link.empty() ? address : feed.link;
  for (const XmlNode* parent : {channel, &root}) {  // RSS 1.0 has its items beside the channel
    for (const XmlNode& item : parent->children)
      if (item.name == "item" && item.complete && feed.entries.size() < kMaxEntries)
        feed.entries.push_back(rss_entry(item, base));
    if (channel == &root) break;
  }
  return feed;
}

// --- Atom

/// A text construct as HTML.
std::string atom_html(const XmlNode& node) {
  const std::string type = to_lower_ascii(node.attribute("type"));
  if (type == "xhtml" || type == "application/xhtml+xml") return node.markup();
  const std::string text = node.content();
  if (type == "html" || type == "text/html") return text;
  if (!type.empty() && type != "text" && !type.starts_with("text/")) return {};  // a picture, say
  std::string escaped;
  for (const char c : text) escaped += c == '&' ? "&amp;" : c == '<' ? "&lt;" : std::string(1, c);
  return escaped;
}

std::string atom_text(const XmlNode& node, std::string_view name, size_t most) {
  const XmlNode* child = node.child(name);
  return child == nullptr ? std::string() : one_line(html_to_text(atom_html(*child)).text, most);
}

/// Where relative links begin: xml:base, itself relative to what is around it.
std::string atom_base(const XmlNode& node, const std::string& around) {
  const std::string_view base = node.attribute("xml:base");
  const std::string resolved = base.empty() ? std::string() : resolve_link(around, base);
  return resolved.empty() ? around : resolved;
}

std::string atom_link(const XmlNode& node, const std::string& base) {
  for (const XmlNode& child : node.children)
    if (const auto rel = child.attribute("rel");
        child.name == "atom:link" && (rel.empty() || rel == "alternate"))
      return resolve_link(base, child.attribute("href"));
  return {};
}

FeedEntry atom_entry(const XmlNode& node, const std::string& around) {
  const std::string base = atom_base(node, around);
  FeedEntry entry;
  entry.id = child_text(node, {"atom:id"});
  entry.title = atom_text(node, "atom:title", kMaxTitleBytes);
  const XmlNode *summary = node.child("atom:summary"), *content = node.child("atom:content");
  entry.html = summary_or(summary == nullptr ? "" : atom_html(*summary),
                          content == nullptr ? "" : atom_html(*content));
  entry.link = atom_link(node, base);
  for (const XmlNode& child : node.children) {
    if (child.name == "atom:category") entry.tags.push_back(one_line(child.attribute("term"), kMaxNameBytes));
    if (child.name == "atom:link" && child.attribute("rel") == "enclosure")
      entry.links.push_back(resolve_link(base, child.attribute("href")));
  }
  if (const XmlNode* author = node.child("atom:author"))
    entry.author = person(child_text(*author, {"atom:name"}));
  entry.lang = language(node.attribute("xml:lang"));
  entry.published =
      first_date(node, {"atom:published", "atom:issued", "atom:created", "atom:updated", "atom:modified"});
  complete(entry);
  return entry;
}

FeedDocument atom_feed(const XmlNode& root, const std::string& address) {
  FeedDocument feed;
  const std::string base = atom_base(root, address);
  feed.title = atom_text(root, "atom:title", kMaxNameBytes);
  feed.link = atom_link(root, base);
  feed.lang = language(root.attribute("xml:lang"));
  read_schedule(root, feed);  // some have the syndication module's
  std::string author;
  if (const XmlNode* node = root.child("atom:author")) author = person(child_text(*node, {"atom:name"}));
  for (const XmlNode& node : root.children) {
    if (node.name != "atom:entry" || !node.complete || feed.entries.size() == kMaxEntries) continue;
    FeedEntry& entry = feed.entries.emplace_back(atom_entry(node, base));
    if (entry.author.empty()) entry.author = author;
  }
  return feed;
}

// --- JSON Feed (https://jsonfeed.org/version/1.1)

FeedEntry json_entry(const json& item, const std::string& base) {
  FeedEntry entry;
  entry.id = text_of(item, "id");
  if (entry.id.empty() && member(item, "id").is_number()) entry.id = member(item, "id").dump();
  entry.title = one_line(text_of(item, "title"), kMaxTitleBytes);
  std::string text;
  for (const char c : text_of(item, "content_text"))
    text += c == '&' ? "&amp;" : c == '<' ? "&lt;" : std::string(1, c);
  const std::string html(text_of(item, "content_html"));
  entry.html = summary_or(std::string(text_of(item, "summary")), html.empty() ? text : html);
  entry.link = resolve_link(base, text_of(item, "url"));
  const std::string external = resolve_link(base, text_of(item, "external_url"));
  if (entry.link.empty()) entry.link = external;
  if (!external.empty()) entry.links.push_back(external);
  for (const json& tag : member(item, "tags")) entry.tags.push_back(one_line(text_of(tag), kMaxNameBytes));
  const json& authors = member(item, "authors");
  const json& author = authors.is_array() && !authors.empty() ? authors.front() : member(item, "author");
  entry.author = person(text_of(author, "name"));
  entry.lang = language(text_of(item, "language"));
  entry.published = parse_feed_date(text_of(item, "date_published"));
  if (!entry.published) entry.published = parse_feed_date(text_of(item, "date_modified"));
  complete(entry);
  return entry;
}

FeedDocument json_feed(std::string_view bytes, const std::string& address) {
  const json root = json::parse(to_utf8(bytes, "utf-8"), nullptr, false);
  if (!member(root, "items").is_array()) throw Error(ErrorCode::kCorrupt, address + " is no JSON Feed");
  FeedDocument feed;
  feed.title = one_line(text_of(root, "title"), kMaxNameBytes);
  feed.link = resolve_link(address, text_of(root, "home_page_url"));
  feed.lang = language(text_of(root, "language"));
  for (const json& item : member(root, "items"))
    if (item.is_object() && feed.entries.size() < kMaxEntries)
      feed.entries.push_back(json_entry(item, address));
  return feed;
}

// --- what it is

std::string_view first_bytes(std::string_view bytes) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  while (!bytes.empty() && static_cast<unsigned char>(bytes.front()) <= ' ') bytes.remove_prefix(1);
  return bytes.substr(0, 1024);
}

std::string_view media_type(std::string_view content_type) {
  return trim(content_type.substr(0, content_type.find(';')));
}

std::string_view charset_of(std::string_view content_type) {
  for (const std::string_view part : split(content_type, ';')) {
    const auto sides = split(trim(part), '=');
    if (sides.size() != 2 || !equals_ignore_case(sides[0], "charset")) continue;
    std::string_view charset = trim(sides[1]);
    if (charset.size() > 2 && (charset.front() == '"' || charset.front() == '\''))
      charset = charset.substr(1, charset.size() - 2);
    return charset;
  }
  return {};
}

/// The value of an attribute in the inside of a tag; quoted or not.
std::string tag_attribute(std::string_view tag, std::string_view name) {
  const std::string lower = to_lower_ascii(tag);
  for (size_t at = lower.find(name); at != std::string::npos; at = lower.find(name, at + 1)) {
    if (at == 0 || static_cast<unsigned char>(lower[at - 1]) > ' ') continue;
    size_t value = lower.find_first_not_of(" \t\r\n", at + name.size());
    if (value == std::string::npos || lower[value] != '=') continue;
    value = lower.find_first_not_of(" \t\r\n", value + 1);
    if (value == std::string::npos) return {};
    const char quote = lower[value];
    if (quote != '"' && quote != '\'')
      return std::string(tag.substr(value, lower.find_first_of(" \t\r\n", value) - value));
    return std::string(tag.substr(value + 1, lower.find(quote, value + 1) - value - 1));
  }
  return {};
}

/// "/a/b/../c" is "/a/c" (RFC 3986, section 5.2.4).
std::string without_dots(std::string_view target) {
  const size_t query = std::min(target.find_first_of("?#"), target.size());
  const auto segments = split(target.substr(0, query), '/');
  std::vector<std::string_view> kept;
  for (size_t i = 1; i < segments.size(); ++i) {
    const bool last = i + 1 == segments.size();
    if (segments[i] == ".." && !kept.empty()) kept.pop_back();
    if (segments[i] != "." && segments[i] != "..") {
      kept.push_back(segments[i]);
    } else if (last) {
      kept.emplace_back();
    }
  }
  std::string out;
  for (const std::string_view segment : kept) out += fmt::format("/{}", segment);
  return (out.empty() ? "/" : out) + std::string(target.substr(query));
}

}  // namespace

std::string resolve_link(const std::string& base, std::string_view link) {
  std::string reference;
  for (const char c : trim(link)) {  // spaces and line breaks are met in addresses
    if (static_cast<unsigned char>(c) > ' ' && c != 0x7f && c != '\\') reference += c;
    if (c == ' ') reference += "%20";
  }
  if (reference.empty()) return {};
  try {
    const std::string absolute = resolve_reference(parse_url(base), reference);
    const Url url = parse_url(absolute);
    const size_t fragment = absolute.find('#');
    std::string out = fmt::format("{}://{}{}", url.scheme, url.authority(), without_dots(url.target));
    if (fragment != std::string::npos) out += absolute.substr(fragment);
    return is_web_address(out) && is_valid_utf8(out) ? out : std::string();
  } catch (const Error&) {
    return {};  // mailto:, javascript:, or no address at all
  }
}

bool is_web_page(std::string_view bytes, std::string_view content_type) {
  const std::string head = to_lower_ascii(first_bytes(bytes));
  if (head.starts_with("<!doctype html") || head.starts_with("<html")) return true;
  const bool labelled = equals_ignore_case(media_type(content_type), "text/html");
  return labelled && head.find("<rss") == std::string::npos && head.find("<feed") == std::string::npos &&
         head.find("<rdf:rdf") == std::string::npos && !head.starts_with('{');
}

std::string discover_feed(std::string_view html, const std::string& address) {
  const std::string_view head = html.substr(0, size_t{1} << 20);
  const std::string lower = to_lower_ascii(head);
  for (size_t at = lower.find("<link"); at != std::string::npos; at = lower.find("<link", at + 5)) {
    const size_t end = lower.find('>', at);
    if (end == std::string::npos) break;
    std::string_view tag = head.substr(at + 5, end - at - 5);
    if (tag.ends_with('/')) tag.remove_suffix(1);
    const std::string type = to_lower_ascii(tag_attribute(tag, "type"));
    const bool feed = type == "application/rss+xml" || type == "application/atom+xml" ||
                      type == "application/feed+json" || type == "application/rdf+xml";
    if (!feed || to_lower_ascii(tag_attribute(tag, "rel")).find("alternate") == std::string::npos) continue;
    const std::string link = resolve_link(address, decode_html_references(tag_attribute(tag, "href")));
    if (!link.empty()) return link;
  }
  return {};
}

FeedDocument parse_feed(std::string_view bytes, std::string_view content_type, const std::string& address) {
  if (first_bytes(bytes).starts_with('{')) return json_feed(bytes, address);
  const XmlDocument document = parse_xml(bytes, charset_of(content_type));
  const std::string& name = document.root.name;
  if (name != "rss" && name != "rdf:RDF" && name != "atom:feed" && name != "channel")
    throw Error(ErrorCode::kCorrupt, fmt::format("{} is no feed{}{}", address,
                                                 document.problem.empty() ? "" : ": ", document.problem));
  FeedDocument feed =
      name == "atom:feed" ? atom_feed(document.root, address) : rss_feed(document.root, address);
  feed.problem = document.problem;
  if (feed.entries.empty() && !feed.problem.empty())
    throw Error(ErrorCode::kCorrupt, fmt::format("{} cannot be read: {}", address, feed.problem));
  return feed;
}

Post feed_post(const FeedEntry& entry, const FeedDocument& feed, const std::string& address,
               Time first_seen) {
  Post post;
  const Url at = parse_url(address);
  const bool global = entry.id.starts_with("http://") || entry.id.starts_with("https://") ||
                      entry.id.starts_with("tag:") || entry.id.starts_with("urn:");
  post.id = digest_of(fmt::format("{}\n{}", global ? at.host : address, entry.id));
  post.source = "rss";
  const HtmlText body = html_to_text(entry.html);
  post.text = entry.title;
  if (!std::string_view(body.text).starts_with(entry.title)) post.text += post.text.empty() ? "" : "\n\n";
  if (std::string_view(body.text).starts_with(entry.title)) post.text.clear();
  post.text += body.text;
  post.text = std::string(trim(post.text));
  cut_text(post.text);
  post.url = entry.link.empty() ? feed.link : entry.link;
  std::string site = feed.link.empty() ? at.host : parse_url(feed.link).host;
  if (site.starts_with("www.")) site.erase(0, 4);
  post.author.handle = site;
  post.author.name = entry.author.empty() ? feed.title : entry.author;
  post.lang = entry.lang.empty() ? feed.lang : entry.lang;
  post.received_at = first_seen;
  post.created_at = entry.published.value_or(first_seen);
  for (const std::string& tag : entry.tags) add_tag(post, tag);
  const std::string& base = entry.link.empty() ? address : entry.link;
  for (const std::string& link : body.links) add_link(post, resolve_link(base, link));
  for (const std::string& link : entry.links) add_link(post, link);
  return post;
}

}  // namespace fathom::live
