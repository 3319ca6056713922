// XML as feeds are written in it: a small tree, by expat, of documents that are often not quite XML.
//
// Safe on hostile input: documents that declare entities are refused, a reference to one that is not XML's own stays as it is
// written (so that nothing can expand), no external file is read, depth and size are bounded. Lenient where feeds go wrong:
// the wrong charset, a bare '&', HTML's entities, control characters, prefixes that were never declared, text before the
// declaration; of a document that breaks off, what came before is kept.
//
// Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom::live {

struct XmlNode {
  /// "item", or with the usual prefix of its namespace: "atom:entry", "dc:date"; empty: a piece of text.
  std::string name;
  std::string text;  // of a piece of text
  std::vector<std::pair<std::string, std::string>> attributes;
  std::vector<XmlNode> children;
  bool complete = false;  // its end was read

  /// Empty when absent.
  std::string_view attribute(std::string_view key) const;
  /// The first child of the name; null when there is none.
  const XmlNode* child(std::string_view key) const;
  /// All text below, put together, trimmed.
  std::string content() const;
  /// The children as HTML: of Atom's type="xhtml".
  std::string markup() const;
};

struct XmlDocument {
  XmlNode root;         // its name is empty when nothing could be read
  std::string problem;  // empty, or why the rest was left out
};

/// `charset`: of the Content-Type, may be empty.
XmlDocument parse_xml(std::string_view bytes, std::string_view charset);

/// `bytes` as UTF-8: by its byte order mark, as it is when it is valid UTF-8, by `declared` (a name that ICU knows), else as
/// windows-1252. Ill-formed sequences become U+FFFD.
std::string to_utf8(std::string_view bytes, std::string_view declared);

}  // namespace fathom::live
