#include "live/source_html.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/text.h"

namespace fathom::live {
namespace {

using std::string_view_literals::operator""sv;

struct NamedCharacter {
  std::string_view name;
  char32_t code_point;
};

/// Sorted by name. HTML 4's set for text (Latin-1, punctuation, Greek and arrows), and later names in common use.
constexpr auto kNamed = std::to_array<NamedCharacter>({
    {"AElig", 198},   {"Aacute", 193},  {"Acirc", 194},   {"Agrave", 192},  {"Alpha", 913},
    {"Aring", 197},   {"Atilde", 195},  {"Auml", 196},    {"Beta", 914},    {"Ccedil", 199},
    {"Chi", 935},     {"Dagger", 8225}, {"Delta", 916},   {"ETH", 208},     {"Eacute", 201},
    {"Ecirc", 202},   {"Egrave", 200},  {"Epsilon", 917}, {"Eta", 919},     {"Euml", 203},
    {"Gamma", 915},   {"Iacute", 205},  {"Icirc", 206},   {"Igrave", 204},  {"Iota", 921},
    {"Iuml", 207},    {"Kappa", 922},   {"Lambda", 923},  {"Mu", 924},      {"NewLine", '\n'},
    {"Ntilde", 209},  {"Nu", 925},      {"OElig", 338},   {"Oacute", 211},  {"Ocirc", 212},
    {"Ograve", 210},  {"Omega", 937},   {"Omicron", 927}, {"Oslash", 216},  {"Otilde", 213},
    {"Ouml", 214},    {"Phi", 934},     {"Pi", 928},      {"Prime", 8243},  {"Psi", 936},
    {"Rho", 929},     {"Scaron", 352},  {"Sigma", 931},   {"THORN", 222},   {"Tab", '\t'},
    {"Tau", 932},     {"Theta", 920},   {"Uacute", 218},  {"Ucirc", 219},   {"Ugrave", 217},
    {"Upsilon", 933}, {"Uuml", 220},    {"Xi", 926},      {"Yacute", 221},  {"Yuml", 376},
    {"Zeta", 918},    {"aacute", 225},  {"acirc", 226},   {"acute", 180},   {"aelig", 230},
    {"agrave", 224},  {"alpha", 945},   {"amp", '&'},     {"and", 8743},    {"ang", 8736},
    {"apos", '\''},   {"aring", 229},   {"asymp", 8776},  {"atilde", 227},  {"auml", 228},
    {"bdquo", 8222},  {"beta", 946},    {"brvbar", 166},  {"bull", 8226},   {"cap", 8745},
    {"ccedil", 231},  {"cedil", 184},   {"cent", 162},    {"check", 10003}, {"chi", 967},
    {"circ", 710},    {"clubs", 9827},  {"colon", ':'},   {"comma", ','},   {"commat", '@'},
    {"cong", 8773},   {"copy", 169},    {"crarr", 8629},  {"cup", 8746},    {"curren", 164},
    {"dArr", 8659},   {"dagger", 8224}, {"darr", 8595},   {"deg", 176},     {"delta", 948},
    {"diams", 9830},  {"divide", 247},  {"dollar", '$'},  {"eacute", 233},  {"ecirc", 234},
    {"egrave", 232},  {"empty", 8709},  {"emsp", 8195},   {"ensp", 8194},   {"epsilon", 949},
    {"equals", '='},  {"equiv", 8801},  {"eta", 951},     {"eth", 240},     {"euml", 235},
    {"euro", 8364},   {"excl", '!'},    {"exist", 8707},  {"fnof", 402},    {"forall", 8704},
    {"frac12", 189},  {"frac14", 188},  {"frac34", 190},  {"frasl", 8260},  {"gamma", 947},
    {"ge", 8805},     {"gt", '>'},      {"hArr", 8660},   {"harr", 8596},   {"hearts", 9829},
    {"hellip", 8230}, {"iacute", 237},  {"icirc", 238},   {"iexcl", 161},   {"igrave", 236},
    {"image", 8465},  {"infin", 8734},  {"int", 8747},    {"iota", 953},    {"iquest", 191},
    {"isin", 8712},   {"iuml", 239},    {"kappa", 954},   {"lArr", 8656},   {"lambda", 955},
    {"lang", 9001},   {"laquo", 171},   {"larr", 8592},   {"lceil", 8968},  {"lcub", '{'},
    {"ldquo", 8220},  {"le", 8804},     {"lfloor", 8970}, {"lowast", 8727}, {"lowbar", '_'},
    {"loz", 9674},    {"lpar", '('},    {"lrm", 8206},    {"lsaquo", 8249}, {"lsqb", '['},
    {"lsquo", 8216},  {"lt", '<'},      {"macr", 175},    {"mdash", 8212},  {"micro", 181},
    {"middot", 183},  {"minus", 8722},  {"mu", 956},      {"nabla", 8711},  {"nbsp", 160},
    {"ndash", 8211},  {"ne", 8800},     {"ni", 8715},     {"not", 172},     {"notin", 8713},
    {"nsub", 8836},   {"ntilde", 241},  {"nu", 957},      {"num", '#'},     {"oacute", 243},
    {"ocirc", 244},   {"oelig", 339},   {"ograve", 242},  {"oline", 8254},  {"omega", 969},
    {"omicron", 959}, {"oplus", 8853},  {"or", 8744},     {"ordf", 170},    {"ordm", 186},
    {"oslash", 248},  {"otilde", 245},  {"otimes", 8855}, {"ouml", 246},    {"para", 182},
    {"part", 8706},   {"percnt", '%'},  {"period", '.'},  {"permil", 8240}, {"perp", 8869},
    {"phi", 966},     {"pi", 960},      {"piv", 982},     {"plus", '+'},    {"plusmn", 177},
    {"pound", 163},   {"prime", 8242},  {"prod", 8719},   {"prop", 8733},   {"psi", 968},
    {"quest", '?'},   {"quot", '"'},    {"rArr", 8658},   {"radic", 8730},  {"rang", 9002},
    {"raquo", 187},   {"rarr", 8594},   {"rceil", 8969},  {"rcub", '}'},    {"rdquo", 8221},
    {"reg", 174},     {"rfloor", 8971}, {"rho", 961},     {"rlm", 8207},    {"rpar", ')'},
    {"rsaquo", 8250}, {"rsqb", ']'},    {"rsquo", 8217},  {"sbquo", 8218},  {"scaron", 353},
    {"sdot", 8901},   {"sect", 167},    {"semi", ';'},    {"shy", 173},     {"sigma", 963},
    {"sigmaf", 962},  {"sim", 8764},    {"sol", '/'},     {"spades", 9824}, {"sub", 8834},
    {"sube", 8838},   {"sum", 8721},    {"sup", 8835},    {"sup1", 185},    {"sup2", 178},
    {"sup3", 179},    {"supe", 8839},   {"szlig", 223},   {"tau", 964},     {"there4", 8756},
    {"theta", 952},   {"thinsp", 8201}, {"thorn", 254},   {"tilde", 732},   {"times", 215},
    {"trade", 8482},  {"uArr", 8657},   {"uacute", 250},  {"uarr", 8593},   {"ucirc", 251},
    {"ugrave", 249},  {"uml", 168},     {"upsilon", 965}, {"uuml", 252},    {"verbar", '|'},
    {"weierp", 8472}, {"xi", 958},      {"yacute", 253},  {"yen", 165},     {"yuml", 255},
    {"zeta", 950},    {"zwj", 8205},    {"zwnj", 8204},
});
static_assert(std::is_sorted(kNamed.begin(), kNamed.end(),
                             [](const auto& a, const auto& b) { return a.name < b.name; }));

/// What browsers show for the references 128..159 (they are meant as Windows-1252).
constexpr std::array<uint16_t, 32> kWindows1252 = {
    0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021, 0x2C6,  0x2030, 0x160,
    0x2039, 0x152,  0x8D,   0x17D,  0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};

constexpr size_t kMaxReference = 32;  // bytes of a character reference between '&' and ';'
constexpr size_t kMaxLinks = 64;
constexpr size_t kMaxLinkBytes = 2048;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; }

std::optional<char32_t> numeric_reference(std::string_view digits) {
  const bool hex = !digits.empty() && (digits.front() == 'x' || digits.front() == 'X');
  if (hex) digits.remove_prefix(1);
  uint32_t value = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (digits.empty() || end != digits.data() + digits.size()) return {};
  if (ec == std::errc::result_out_of_range || value == 0) return char32_t{0xFFFD};
  if (value >= 128 && value < 160) return kWindows1252[value - 128];
  return value;  // append_utf8 replaces what is no character
}

/// Decodes the reference at `html[at]` == '&' and moves `at` past it. Empty (and `at` unmoved) when it is just an '&'.
std::optional<char32_t> read_reference(std::string_view html, size_t& at) {
  const auto rest = html.substr(at + 1, kMaxReference + 1);
  const size_t end = rest.find(';');
  if (end == std::string_view::npos || end == 0) return {};
  const auto name = rest.substr(0, end);
  std::optional<char32_t> found;
  if (name.front() == '#') {
    found = numeric_reference(name.substr(1));
  } else {
    const auto place =
        std::lower_bound(kNamed.begin(), kNamed.end(), name,
                         [](const NamedCharacter& a, std::string_view b) { return a.name < b; });
    if (place != kNamed.end() && place->name == name) found = place->code_point;
  }
  if (found) at += 1 + end + 1;
  return found;
}

std::string decode_references(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '&') {
      if (const auto c = read_reference(text, at)) {
        append_utf8(out, *c);
        continue;
      }
    }
    out += text[at++];
  }
  return out;
}

/// A tag as far as it matters here.
struct Tag {
  std::string name;  // lower case
  bool closing = false;
  bool empty = false;  // ends in "/>"
  std::string href;    // decoded
};

/// Walks the attributes of a tag, which begin at `at`, to the '>' and past it. Fills in `href`.
void read_attributes(std::string_view html, size_t& at, Tag& tag) {
  while (at < html.size() && html[at] != '>') {
    if (is_space(html[at]) || html[at] == '/') {
      ++at;
      continue;
    }
    const size_t name_begin = at;
    while (at < html.size() && !is_space(html[at]) && html[at] != '=' && html[at] != '>' && html[at] != '/')
      ++at;
    if (at == name_begin) ++at;  // a stray '='
    const auto name = html.substr(name_begin, at - name_begin);
    while (at < html.size() && is_space(html[at])) ++at;
    if (at >= html.size() || html[at] != '=') continue;
    ++at;
    while (at < html.size() && is_space(html[at])) ++at;
    if (at >= html.size()) break;
    size_t begin = at;
    size_t end = at;
    if (html[at] == '"' || html[at] == '\'') {
      begin = at + 1;
      end = std::min(html.find(html[at], begin), html.size());
      at = std::min(end + 1, html.size());
    } else {
      while (at < html.size() && !is_space(html[at]) && html[at] != '>') ++at;
      end = at;
    }
    if (tag.href.empty() && equals_ignore_case(name, "href"))
      tag.href = decode_references(html.substr(begin, end - begin));
  }
  if (at >= html.size()) return;
  tag.empty = html[at - 1] == '/';
  ++at;
}

bool in(std::string_view name, std::initializer_list<std::string_view> set) {
  return std::find(set.begin(), set.end(), name) != set.end();
}

bool is_paragraph(std::string_view name) {
  return in(name,
            {"p"sv,          "div"sv,     "blockquote"sv, "pre"sv,    "ul"sv,      "ol"sv,    "h1"sv,
             "h2"sv,         "h3"sv,      "h4"sv,         "h5"sv,     "h6"sv,      "table"sv, "section"sv,
             "article"sv,    "header"sv,  "footer"sv,     "figure"sv, "hr"sv,      "dl"sv,    "main"sv,
             "figcaption"sv, "address"sv, "aside"sv,      "nav"sv,    "details"sv, "form"sv});
}

bool is_line(std::string_view name) { return in(name, {"tr"sv, "dt"sv, "dd"sv, "summary"sv}); }

/// Elements whose content is not text.
bool is_hidden(std::string_view name) {
  return in(name, {"script"sv, "style"sv, "template"sv, "noscript"sv, "iframe"sv, "object"sv, "svg"sv,
                   "math"sv, "title"sv, "textarea"sv, "select"sv});
}

bool is_http(std::string_view address) {
  const auto begins = [&](std::string_view scheme) {
    return address.size() > scheme.size() && equals_ignore_case(address.substr(0, scheme.size()), scheme);
  };
  return begins("http://") || begins("https://");
}

/// Collects text, with white space collapsed and breaks held back until something follows them.
class TextBuilder {
 public:
  void character(char32_t c) {
    if (pre_) {
      if (c == '\n') {
        line_break();
        return;
      }
      if (c == ' ' || c == '\t') {
        pending_spaces_ += static_cast<char>(c);
        return;
      }
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == 0xA0) {
      if (pending_spaces_.empty()) pending_spaces_ = " ";
      return;
    }
    const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
    const bool marker =
        c == 0xAD || c == 0xFEFF || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
    if (control || marker) return;  // direction overrides would make a citation show other words than it has
    settle();
    append_utf8(text_, c);
  }

  void line_break() { hold_lines(std::min(pending_lines_ + 1, 2)); }  // two in a row leave an empty line
  void new_line() { hold_lines(1); }
  void paragraph() { hold_lines(2); }
  void list_item() {
    new_line();
    pending_bullet_ = true;
  }
  void preformatted(bool on) { pre_ = on; }

  /// Where the next character will stand, once what is held back is written.
  size_t mark() {
    settle();
    return text_.size();
  }
  std::string_view since(size_t mark) const {
    return std::string_view(text_).substr(std::min(mark, text_.size()));
  }
  void replace_since(size_t mark, std::string_view with) { text_.replace(mark, std::string::npos, with); }

  std::string take() {
    text_.erase(text_.find_last_not_of(" \t\n") + 1);
    return std::move(text_);
  }

 private:
  void hold_lines(int at_least) {
    pending_lines_ = std::max(pending_lines_, at_least);
    pending_spaces_.clear();
  }

  void settle() {
    if (!text_.empty()) text_.append(static_cast<size_t>(pending_lines_), '\n');
    if (pending_bullet_) text_ += "- ";
    const bool line_start = text_.empty() || text_.back() == '\n' || pending_bullet_;
    if (pre_ || !line_start) text_ += pending_spaces_;
    pending_lines_ = 0;
    pending_bullet_ = false;
    pending_spaces_.clear();
  }

  std::string text_;
  std::string pending_spaces_;
  int pending_lines_ = 0;
  bool pending_bullet_ = false;
  bool pre_ = false;
};

class HtmlReader {
 public:
  explicit HtmlReader(std::string_view html) : html_(html) {}

  HtmlText read() {
    while (at_ < html_.size()) step();
    end_anchor();
    return {out_.take(), std::move(links_)};
  }

 private:
  void step() {
    const char c = html_[at_];
    if (c == '<' && markup()) return;
    if (c == '&') {
      if (const auto reference = read_reference(html_, at_)) {
        out_.character(*reference);
        return;
      }
    }
    out_.character(decode_utf8(html_, at_));
  }

  /// Reads a tag, comment or declaration at `at_`. False when the '<' is just a character.
  bool markup() {
    const auto rest = html_.substr(at_);
    if (rest.size() < 2) return false;
    if (rest.starts_with("<!--")) {
      skip_past("-->", 4);
      return true;
    }
    if (rest.starts_with("<![CDATA[")) {
      cdata();
      return true;
    }
    if (rest[1] == '!' || rest[1] == '?') {
      skip_past(">", 2);
      return true;
    }
    const bool closing = rest[1] == '/';
    if (closing && (rest.size() < 3 || !is_letter(rest[2]))) {
      skip_past(">", 2);  // "</>" and "</ x>": a bogus comment
      return true;
    }
    if (!closing && !is_letter(rest[1])) return false;
    tag(closing);
    return true;
  }

  /// Its content is text without markup.
  void cdata() {
    at_ += std::string_view("<![CDATA[").size();
    const size_t close = html_.find("]]>", at_);
    const size_t end = std::min(close, html_.size());
    while (at_ < end) out_.character(decode_utf8(html_.substr(0, end), at_));
    if (close != std::string_view::npos) at_ = close + 3;
  }

  void skip_past(std::string_view end, size_t from) {
    const size_t found = html_.find(end, at_ + from);
    at_ = found == std::string_view::npos ? html_.size() : found + end.size();
  }

  void tag(bool closing) {
    Tag tag;
    tag.closing = closing;
    size_t at = at_ + (closing ? 2 : 1);
    const size_t begin = at;
    while (at < html_.size() && (is_letter(html_[at]) || is_digit(html_[at]))) ++at;
    tag.name = to_lower_ascii(html_.substr(begin, std::min<size_t>(at - begin, 32)));
    read_attributes(html_, at, tag);
    at_ = at;
    apply(tag);
  }

  void apply(const Tag& tag) {
    if (is_hidden(tag.name)) {
      const bool no_content = tag.closing || (tag.empty && in(tag.name, {"svg"sv, "math"sv, "object"sv}));
      if (!no_content) skip_element(tag.name);
    } else if (tag.name == "a") {
      end_anchor();
      if (!tag.closing) begin_anchor(tag.href);
    } else if (tag.name == "li") {
      tag.closing ? out_.new_line() : out_.list_item();
    } else if (tag.name == "br") {
      out_.line_break();
    } else if (is_line(tag.name)) {
      out_.new_line();
    } else if (in(tag.name, {"td"sv, "th"sv})) {
      out_.character(' ');
    } else if (is_paragraph(tag.name)) {
      out_.paragraph();
      if (tag.name == "pre") out_.preformatted(!tag.closing);
    }
  }

  /// Moves to the closing tag of an element whose content is not text, or to the end.
  void skip_element(std::string_view name) {
    while (at_ < html_.size()) {
      at_ = html_.find("</", at_);
      if (at_ == std::string_view::npos) break;
      if (equals_ignore_case(html_.substr(at_ + 2, name.size()), name)) {
        skip_past(">", 2);
        return;
      }
      at_ += 2;
    }
    at_ = html_.size();
  }

  void begin_anchor(const std::string& href) {
    if (!is_http(href) || href.size() > kMaxLinkBytes) return;
    anchor_ = sanitize_utf8(href);
    std::erase_if(anchor_, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; });
    if (!is_http(anchor_)) {  // of "http:// " nothing is left that leads anywhere
      anchor_.clear();
      return;
    }
    anchor_mark_ = out_.mark();
    if (links_.size() < kMaxLinks && seen_.insert(anchor_).second) links_.push_back(anchor_);
  }

  /// Shortened addresses become whole again.
  void end_anchor() {
    if (anchor_.empty()) return;
    auto shown = out_.since(anchor_mark_);
    for (const auto dots : {"..."sv, "\xE2\x80\xA6"sv}) {
      if (!shown.ends_with(dots)) continue;
      shown.remove_suffix(dots.size());
      const size_t scheme = anchor_.find("://") + 3;
      const std::string_view address(anchor_);
      if (!shown.empty() && (address.starts_with(shown) || address.substr(scheme).starts_with(shown)))
        out_.replace_since(anchor_mark_, anchor_);
      break;
    }
    anchor_.clear();
  }

  std::string_view html_;
  size_t at_ = 0;
  TextBuilder out_;
  std::string anchor_;
  size_t anchor_mark_ = 0;
  std::vector<std::string> links_;
  std::unordered_set<std::string> seen_;
};

}  // namespace

HtmlText html_to_text(std::string_view html) { return HtmlReader(html).read(); }

std::string decode_html_references(std::string_view text) {
  const std::string decoded = decode_references(text);
  TextBuilder out;
  for (size_t at = 0; at < decoded.size();) out.character(decode_utf8(decoded, at));
  return out.take();
}

}  // namespace fathom::live
