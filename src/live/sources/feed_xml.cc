#include "live/sources/feed_xml.h"

#include <expat.h>
#include <fmt/format.h>
#include <unicode/ucnv.h>

#include <algorithm>
#include <array>
#include <climits>
#include <memory>

#include "base/text.h"

namespace fathom::live {
namespace {

constexpr size_t kMaxDepth = 100;
constexpr size_t kMaxNodes = 500'000;
constexpr size_t kMaxCharsetBytes = 40;

// --- characters

/// The encoding that an XML declaration at the start names; empty when there is none.
std::string_view declared_encoding(std::string_view bytes) {
  const std::string_view head = bytes.substr(0, 200);
  const size_t end = head.find("?>");
  if (!head.starts_with("<?xml") || end == std::string_view::npos) return {};
  const std::string_view declaration = head.substr(0, end);
  size_t at = declaration.find("encoding");
  if (at == std::string_view::npos) return {};
  at = declaration.find_first_of("'\"", at);
  if (at == std::string_view::npos) return {};
  const size_t close = declaration.find(declaration[at], at + 1);
  return close == std::string_view::npos ? std::string_view() : declaration.substr(at + 1, close - at - 1);
}

std::string convert(std::string_view bytes, const std::string& charset) {
  UErrorCode status = U_ZERO_ERROR;
  const auto close = [](UConverter* converter) { ucnv_close(converter); };
  const std::unique_ptr<UConverter, decltype(close)> from(ucnv_open(charset.c_str(), &status), close);
  if (U_FAILURE(status) || bytes.size() > INT_MAX / 4) return {};
  std::vector<UChar> wide(bytes.size() * 2 + 1);  // no charset gives more than two units a byte
  const int32_t units = ucnv_toUChars(from.get(), wide.data(), static_cast<int32_t>(wide.size()),
                                      bytes.data(), static_cast<int32_t>(bytes.size()), &status);
  if (U_FAILURE(status)) return {};
  std::string out;
  for (int32_t i = 0; i < units; ++i) {
    char32_t point = wide[static_cast<size_t>(i)];
    if (point >= 0xD800 && point < 0xDC00 && i + 1 < units) {
      const char32_t low = wide[static_cast<size_t>(i) + 1];
      if (low >= 0xDC00 && low < 0xE000) {
        point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
        ++i;
      }
    }
    append_utf8(out, point);
  }
  return out;
}

// --- what is not quite XML

bool is_xml_character(uint32_t point) {
  return point == 9 || point == 10 || point == 13 || (point >= 0x20 && point < 0xD800) ||
         (point >= 0xE000 && point <= 0xFFFD) || (point >= 0x10000 && point <= 0x10FFFF);
}

/// Length of the reference at the start of `text` that a parser may read: "&amp;", "&#38;"; 0 for anything else.
size_t good_reference(std::string_view text) {
  for (const std::string_view known : {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"})
    if (text.starts_with(known)) return known.size();
  if (!text.starts_with("&#")) return 0;
  const bool hex = text.size() > 2 && text[2] == 'x';
  const size_t begin = hex ? 3 : 2;
  const size_t end = text.find(';');
  if (end == std::string_view::npos || end == begin || end > 12) return 0;
  uint32_t point = 0;
  for (const char c : text.substr(begin, end - begin)) {
    const int digit = c >= '0' && c <= '9'          ? c - '0'
                      : hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                    : 99;
    if (digit == 99) return 0;
    point = std::min<uint32_t>(point * (hex ? 16 : 10) + static_cast<uint32_t>(digit), 0x110000);
  }
  return is_xml_character(point) ? end + 1 : 0;
}

/// References that a parser would not know are kept as the text that they are; characters that XML has not become spaces.
std::string repaired(std::string_view text) {
  constexpr std::string_view kOpen = "<![CDATA[", kClose = "]]>";
  std::string out;
  out.reserve(text.size() + text.size() / 16);
  bool verbatim = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!verbatim && c == '<' && text.substr(i).starts_with(kOpen)) {
      verbatim = true;
    } else if (verbatim && c == ']' && text.substr(i).starts_with(kClose)) {
      verbatim = false;
    } else if (!verbatim && c == '&') {
      out += good_reference(text.substr(i, 16)) > 0 ? "&" : "&amp;";
      continue;
    }
    const bool control = static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
    const bool never = c == '\xEF' && (text.substr(i).starts_with("\xEF\xBF\xBE") ||
                                       text.substr(i).starts_with("\xEF\xBF\xBF"));
    if (never) i += 2;
    out += control || never ? ' ' : c;
  }
  return out;
}

// --- names

struct Namespace {
  std::string_view address, prefix;
};
constexpr std::array kNamespaces = {
    Namespace{"http://www.w3.org/2005/Atom", "atom"},
    Namespace{"http://purl.org/atom/ns#", "atom"},
    Namespace{"http://purl.org/rss/1.0/", ""},
    Namespace{"http://my.netscape.com/rdf/simple/0.9/", ""},
    Namespace{"http://channel.netscape.com/rdf/simple/0.9/", ""},
    Namespace{"http://backend.userland.com/rss2", ""},
    Namespace{"http://www.w3.org/1999/02/22-rdf-syntax-ns#", "rdf"},
    Namespace{"http://purl.org/dc/elements/1.1/", "dc"},
    Namespace{"http://purl.org/dc/terms/", "dcterms"},
    Namespace{"http://purl.org/rss/1.0/modules/content/", "content"},
    Namespace{"http://purl.org/rss/1.0/modules/syndication/", "sy"},
    Namespace{"http://www.w3.org/1999/xhtml", "xhtml"},
};

/// Builds the tree.
class Builder {
 public:
  explicit Builder(XmlDocument& document) : document_(document) {}

  bool parse(const std::string& text) {
    const std::unique_ptr<std::remove_pointer_t<XML_Parser>, decltype(&XML_ParserFree)> parser(
        XML_ParserCreate("UTF-8"), &XML_ParserFree);  // whatever the declaration says: it was converted
    parser_ = parser.get();
    XML_SetUserData(parser_, this);
    XML_SetElementHandler(parser_, on_start, on_end);
    XML_SetCharacterDataHandler(parser_, on_text);
    XML_SetEntityDeclHandler(parser_, on_entity);
    if (XML_Parse(parser_, text.data(), static_cast<int>(text.size()), XML_TRUE) == XML_STATUS_OK)
      return true;
    if (document_.problem.empty())
      document_.problem = fmt::format("line {}: {}", XML_GetCurrentLineNumber(parser_),
                                      XML_ErrorString(XML_GetErrorCode(parser_)));
    return false;
  }

 private:
  struct Declared {
    std::string prefix, address;
    size_t depth;
  };

  static Builder& self(void* data) { return *static_cast<Builder*>(data); }
  static void on_start(void* data, const XML_Char* name, const XML_Char** attributes) {
    self(data).start(name, attributes);
  }
  static void on_end(void* data, const XML_Char*) { self(data).end(); }
  static void on_text(void* data, const XML_Char* text, int size) {
    self(data).add_text({text, static_cast<size_t>(size)});
  }
  static void on_entity(void* data, const XML_Char*, int, const XML_Char*, int, const XML_Char*,
                        const XML_Char*, const XML_Char*, const XML_Char*) {
    self(data).refuse("it declares entities, which feeds have no use for");
  }

  void refuse(const char* why) {
    document_.problem = why;
    XML_StopParser(parser_, XML_FALSE);
  }

  void start(std::string_view name, const XML_Char** attributes) {
    if (++nodes_ > kMaxNodes) return refuse("it has too many elements");
    if (open_.size() >= kMaxDepth) return refuse("its elements stand too deep in one another");
    XmlNode& node = open_.empty() ? document_.root : open_.back()->children.emplace_back();
    open_.push_back(&node);
    for (const XML_Char** at = attributes; *at != nullptr; at += 2) declare(at[0], at[1]);
    if (open_.size() == 1 && name == "feed" && declared_.empty()) declare("xmlns", kNamespaces[0].address);
    node.name = known_name(name, true);
    for (const XML_Char** at = attributes; *at != nullptr; at += 2)
      node.attributes.emplace_back(known_name(at[0], false), at[1]);
  }

  void end() {
    while (!declared_.empty() && declared_.back().depth == open_.size()) declared_.pop_back();
    if (open_.empty()) return;
    open_.back()->complete = true;
    open_.pop_back();
  }

  void add_text(std::string_view text) {
    if (open_.empty()) return;
    auto& children = open_.back()->children;
    if (children.empty() || !children.back().name.empty()) {
      if (++nodes_ > kMaxNodes) return refuse("it has too many elements");
      children.emplace_back();
    }
    children.back().text += text;
  }

  void declare(std::string_view attribute, std::string_view address) {
    if (attribute == "xmlns") declared_.push_back({"", std::string(address), open_.size()});
    if (attribute.starts_with("xmlns:"))
      declared_.push_back({std::string(attribute.substr(6)), std::string(address), open_.size()});
  }

  /// With the usual prefix of the namespace, whatever prefix the document uses; an attribute without one has no namespace.
  std::string known_name(std::string_view name, bool is_element) const {
    const size_t colon = name.find(':');
    const std::string_view prefix = colon == std::string_view::npos ? "" : name.substr(0, colon);
    if (prefix.empty() && !is_element) return std::string(name);
    const std::string_view local = colon == std::string_view::npos ? name : name.substr(colon + 1);
    const auto declared = std::find_if(declared_.rbegin(), declared_.rend(),
                                       [&](const Declared& one) { return one.prefix == prefix; });
    if (declared == declared_.rend()) return std::string(name);
    const auto known = std::find_if(kNamespaces.begin(), kNamespaces.end(),
                                    [&](const Namespace& one) { return one.address == declared->address; });
    if (known == kNamespaces.end()) return std::string(name);
    return known->prefix.empty() ? std::string(local) : fmt::format("{}:{}", known->prefix, local);
  }

  XmlDocument& document_;
  XML_Parser parser_ = nullptr;
  std::vector<XmlNode*>
      open_;  // a node's children grow only while it is the last one: pointers to the open ones hold
  std::vector<Declared> declared_;
  size_t nodes_ = 0;
};

void append_content(const XmlNode& node, std::string& out) {
  out += node.text;
  for (const XmlNode& child : node.children) append_content(child, out);
}

void append_escaped(std::string_view text, std::string& out) {
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
}

void append_markup(const XmlNode& node, std::string& out) {
  if (node.name.empty()) return append_escaped(node.text, out);
  const size_t colon = node.name.find(':');
  const std::string_view tag = std::string_view(node.name).substr(colon == std::string::npos ? 0 : colon + 1);
  out += fmt::format("<{}", tag);
  for (const auto& [name, value] : node.attributes) {
    out += fmt::format(" {}=\"", name);
    append_escaped(value, out);
    out += '"';
  }
  out += '>';
  for (const XmlNode& child : node.children) append_markup(child, out);
  out += fmt::format("</{}>", tag);
}

}  // namespace

std::string_view XmlNode::attribute(std::string_view key) const {
  for (const auto& [name_of_it, value] : attributes)
    if (name_of_it == key) return value;
  return {};
}

const XmlNode* XmlNode::child(std::string_view key) const {
  const auto found =
      std::find_if(children.begin(), children.end(), [&](const XmlNode& node) { return node.name == key; });
  return found == children.end() ? nullptr : &*found;
}

std::string XmlNode::content() const {
  std::string out;
  append_content(*this, out);
  return std::string(trim(out));
}

std::string XmlNode::markup() const {
  std::string out;
  for (const XmlNode& node : children) append_markup(node, out);
  return out;
}

std::string to_utf8(std::string_view bytes, std::string_view declared) {
  if (bytes.starts_with("\xEF\xBB\xBF")) return sanitize_utf8(bytes.substr(3));
  std::string charset(declared.substr(0, kMaxCharsetBytes));
  const bool big = bytes.starts_with("\xFE\xFF") || bytes.starts_with(std::string_view("\0<\0", 3));
  const bool little = bytes.starts_with("\xFF\xFE") || bytes.starts_with(std::string_view("<\0", 2));
  if (big || little) {
    charset = big ? "UTF-16BE" : "UTF-16LE";
    if (static_cast<unsigned char>(bytes[0]) >= 0xFE) bytes.remove_prefix(2);
  } else if (is_valid_utf8(bytes)) {
    return std::string(
        bytes);  // hardly any text of another charset is valid UTF-8, and labels are often wrong
  }
  const std::string lower = to_lower_ascii(charset);
  if (lower == "utf-8" || lower == "utf8") return sanitize_utf8(bytes);
  // What is labelled Latin-1 is windows-1252 (WHATWG Encoding, section 4.2).
  if (lower.empty() || lower == "iso-8859-1" || lower == "us-ascii" || lower == "latin1")
    charset = "windows-1252";
  std::string out = convert(bytes, charset);
  if (out.empty()) out = convert(bytes, "windows-1252");
  return out;
}

XmlDocument parse_xml(std::string_view bytes, std::string_view charset) {
  const std::string_view inside = declared_encoding(bytes);
  const std::string text = to_utf8(bytes, inside.empty() ? charset : inside);
  const size_t begin = std::min(text.find('<'), text.size());  // what stands before is no XML
  XmlDocument document;
  Builder builder(document);
  builder.parse(repaired(std::string_view(text).substr(begin)));
  return document;
}

}  // namespace fathom::live
