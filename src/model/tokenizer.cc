#include "model/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "model/byte_pair.h"
#include "model/normalizer.h"
#include "model/pretokenizer.h"
#include "model/sentence_piece.h"
#include "model/special_tokens.h"
#include "model/text_index.h"
#include "model/unigram.h"
#include "model/vocabulary.h"
#include "model/word_piece.h"

namespace fathom::model {
namespace {

constexpr size_t kMaxText = size_t{1} << 28;

enum class Family { kBytePair, kSentencePiece, kUnigram, kWordPiece };

/// What models call the end of a turn, and all that ends generation, where the file does not say.
constexpr std::string_view kTurnEnds[] = {"<|eot_id|>",      "<|im_end|>",    "<|end|>", "<end_of_turn>",
                                          "<|end_of_turn|>", "<|endoftext|>", "<EOT>"};
constexpr std::string_view kEnds[] = {"<|eot_id|>",      "<|im_end|>",    "<|end|>", "<end_of_turn>",
                                      "<|end_of_turn|>", "<|endoftext|>", "<EOT>",   "<|eom_id|>",
                                      "<|end_of_text|>", "</s>"};

[[noreturn]] void corrupt(const GgufFile& file, const std::string& what) {
  throw Error(ErrorCode::kCorrupt,
              fmt::format("in '{}', {}; download or convert it again", file.name(), what));
}

[[noreturn]] void unsupported(const GgufFile& file, std::string_view what, std::string_view name) {
  throw Error(ErrorCode::kUnsupported, fmt::format("'{}' has the {} '{}', which this build does not know",
                                                   file.name(), what, sanitize_utf8(name.substr(0, 40))));
}

std::vector<TokenType> read_types(const GgufFile& file, size_t size) {
  const auto numbers = file.find_ints("tokenizer.ggml.token_type");
  if (!numbers) return std::vector<TokenType>(size, TokenType::kNormal);
  if (numbers->size() != size)
    corrupt(file,
            fmt::format("tokenizer.ggml.token_type has {} entries for {} tokens", numbers->size(), size));
  std::vector<TokenType> types;
  types.reserve(size);
  for (const int64_t number : *numbers) {
    if (number < 0 || number > 6) corrupt(file, fmt::format("a token has the unknown type {}", number));
    types.push_back(number == 0 ? TokenType::kNormal : static_cast<TokenType>(number));
  }
  return types;
}

std::vector<float> read_scores(const GgufFile& file, size_t size) {
  auto scores = file.find_floats("tokenizer.ggml.scores");
  if (!scores) return std::vector<float>(size, 0.0f);
  if (scores->size() != size)
    corrupt(file, fmt::format("tokenizer.ggml.scores has {} entries for {} tokens", scores->size(), size));
  if (std::any_of(scores->begin(), scores->end(), [](float s) { return std::isnan(s); }))
    corrupt(file, "a score in tokenizer.ggml.scores is not a number");
  return *std::move(scores);
}

Vocabulary read_vocabulary(const GgufFile& file) {
  Vocabulary vocabulary;
  const auto texts = file.get_strings("tokenizer.ggml.tokens");
  if (texts.empty() || texts.size() > (size_t{1} << 24))
    corrupt(file, fmt::format("tokenizer.ggml.tokens lists {} tokens", texts.size()));
  vocabulary.texts.assign(texts.begin(), texts.end());
  vocabulary.types = read_types(file, texts.size());
  vocabulary.scores = read_scores(file, texts.size());
  return vocabulary;
}

std::optional<int32_t> read_id(const GgufFile& file, std::string_view key, size_t size) {
  const auto id = file.find_uint(key);
  if (!id) return std::nullopt;
  if (*id >= size) corrupt(file, fmt::format("'{}' is {}, and there are {} tokens", key, *id, size));
  return static_cast<int32_t>(*id);
}

std::string with_spaces(std::string_view piece) {
  std::string text;
  text.reserve(piece.size());
  for (size_t at = 0; at < piece.size();) {
    if (piece.substr(at).starts_with(kPieceSpace)) {
      text += ' ';
      at += kPieceSpace.size();
    } else {
      text += piece[at++];
    }
  }
  return text;
}

std::string with_piece_spaces(std::string_view text) {
  std::string pieces;
  pieces.reserve(text.size() + text.size() / 2);
  for (const char c : text) {
    if (c == ' ')
      pieces += kPieceSpace;
    else
      pieces += c;
  }
  return pieces;
}

/// Text of several origins as one string, and where the template's own runs lie.
struct JoinedText {
  struct Run {
    size_t begin, end;
  };
  std::string text;
  std::vector<Run> trusted;  // in order, apart from each other

  void append(std::string_view piece, bool is_trusted) {
    const size_t begin = text.size();
    text += piece;
    if (!is_trusted || piece.empty()) return;
    if (!trusted.empty() && trusted.back().end == begin)
      trusted.back().end = text.size();
    else
      trusted.push_back({begin, text.size()});
  }

  bool is_trusted(size_t begin, size_t end) const {
    const auto after = std::upper_bound(trusted.begin(), trusted.end(), begin,
                                        [](size_t at, const Run& run) { return at < run.begin; });
    return after != trusted.begin() && end <= std::prev(after)->end;
  }
};

/// Hands the special tokens of `text` that `permitted(token, begin)` allows to `on_token`, and the stretches between
/// them, none empty, to `on_plain(begin, end)`, in order.
template <class Permitted, class OnPlain, class OnToken>
void scan(const SpecialTokens& specials, std::string_view text, Permitted permitted, OnPlain on_plain,
          OnToken on_token) {
  size_t plain_begin = 0;
  for (size_t at = 0; at < text.size();) {
    const SpecialToken* token = nullptr;
    if (specials.may_begin(text[at]))
      token =
          specials.match(text, at, [&](const SpecialToken& candidate) { return permitted(candidate, at); });
    if (token == nullptr) {
      ++at;
      continue;
    }
    if (plain_begin < at) on_plain(plain_begin, at);
    on_token(*token);
    at += token->text.size();
    plain_begin = at;
  }
  if (plain_begin < text.size()) on_plain(plain_begin, text.size());
}

}  // namespace

struct Tokenizer::Impl {
  Vocabulary vocabulary;
  std::vector<std::string> pieces;
  std::optional<TextIndex> ids;
  std::optional<SpecialTokens> specials;

  Family family = Family::kBytePair;
  std::optional<BytePairEncoder> byte_pair;
  PreTokenizer pre_tokenizer = PreTokenizer::kDefault;
  bool nfc = false;
  std::optional<SentencePieceEncoder> sentence_piece;
  std::optional<UnigramEncoder> unigram;
  std::optional<SpaceNormalizer> normalizer;
  bool add_space_prefix = false;
  std::optional<WordPieceEncoder> word_piece;

  std::optional<int32_t> bos, eos, eot, unknown;
  bool add_bos = false, add_eos = false;
  std::vector<bool> ends;

  // In place, because specials and encoder point into the vocabulary.
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void read(const GgufFile& file);
  void read_byte_pair(const GgufFile& file);
  void read_normalizer(const GgufFile& file, bool remove_extra);
  void read_sentence_piece(const GgufFile& file);
  void read_unigram(const GgufFile& file);
  void read_word_piece(const GgufFile& file);
  void read_added(const GgufFile& file, bool bos_default, bool eos_default);
  void read_special_ids(const GgufFile& file);
  /// Whether spaces are spelled as pieces have them before special tokens are looked for.
  bool spells_spaces() const { return normalizer && normalizer->is_plain(); }
  std::string piece_of(size_t id) const;

  std::optional<int32_t> find_special(std::string_view text) const;
  bool is_control(int32_t id) const;

  /// The form in which text is searched: valid UTF-8, spaces as pieces have them, where no normaliser follows.
  std::string spelled(std::string_view text) const;
  std::string searchable(const std::string& token) const;
  template <class Permitted>
  std::vector<int32_t> encode(std::string_view text, Permitted permitted) const;
  template <class Permitted>
  void encode_byte_pair(std::string_view text, Permitted permitted, std::vector<int32_t>& out) const;
  template <class Permitted>
  void encode_sentence_piece(std::string_view text, Permitted permitted, std::vector<int32_t>& out) const;
  template <class Permitted>
  void encode_normalized(std::string_view text, Permitted permitted, std::vector<int32_t>& out) const;
  template <class Permitted>
  void encode_words(std::string_view text, Permitted permitted, std::vector<int32_t>& out) const;
  void encode_pieces(std::string_view normalized, std::vector<int32_t>& out) const;
};

Family family_of(const GgufFile& file) {
  const auto model = file.get_string("tokenizer.ggml.model");
  if (model == "gpt2") return Family::kBytePair;
  if (model == "llama") return Family::kSentencePiece;
  if (model == "t5") return Family::kUnigram;
  if (model == "bert") return Family::kWordPiece;
  unsupported(file, "tokenizer", model);
}

void Tokenizer::Impl::read(const GgufFile& file) {
  family = family_of(file);
  vocabulary = read_vocabulary(file);
  ids.emplace(vocabulary.texts);
  for (size_t id = 0; id < vocabulary.size(); ++id) ids->add(id, false);
  read_special_ids(file);
  switch (family) {
    case Family::kBytePair: read_byte_pair(file); break;
    case Family::kSentencePiece: read_sentence_piece(file); break;
    case Family::kUnigram: read_unigram(file); break;
    case Family::kWordPiece: read_word_piece(file); break;
  }
  specials.emplace(vocabulary, [this](const std::string& text) { return searchable(text); });
  pieces.reserve(vocabulary.size());
  for (size_t id = 0; id < vocabulary.size(); ++id) pieces.push_back(piece_of(id));
}

void Tokenizer::Impl::read_added(const GgufFile& file, bool bos_default, bool eos_default) {
  add_bos = file.find_bool("tokenizer.ggml.add_bos_token").value_or(bos_default) && bos;
  add_eos = file.find_bool("tokenizer.ggml.add_eos_token").value_or(eos_default) && eos;
}

void Tokenizer::Impl::read_byte_pair(const GgufFile& file) {
  const auto name = file.find_string("tokenizer.ggml.pre").value_or("default");
  const auto kind = pre_tokenizer_from_name(name);
  if (!kind) unsupported(file, "pre-tokenizer", name);
  pre_tokenizer = *kind;
  nfc = file.find_bool("fathom.tokenizer.nfc").value_or(false);
  const bool is_llama3 = is_llama3_vocabulary(name);
  const bool whole_words =
      file.find_bool("fathom.tokenizer.ignore_merges").value_or(is_llama3 || *kind == PreTokenizer::kTekken);
  byte_pair.emplace(vocabulary, file.get_strings("tokenizer.ggml.merges"), whole_words);
  if (byte_pair->bad_merges() > 0)
    corrupt(file, fmt::format("{} entries of tokenizer.ggml.merges are not pairs", byte_pair->bad_merges()));
  read_added(file, is_llama3, false);
}

void Tokenizer::Impl::read_normalizer(const GgufFile& file, bool remove_extra) {
  add_space_prefix = file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true);
  SpaceNormalizer::Options options{add_space_prefix, remove_extra, false};
  options.remove_extra = file.find_bool("tokenizer.ggml.remove_extra_whitespaces").value_or(remove_extra);
  options.any_space = file.find_bool("fathom.tokenizer.any_space").value_or(false);
  std::string map;
  // Bytes, as numbers of any kind.
  for (const int64_t byte :
       file.find_ints("tokenizer.ggml.precompiled_charsmap").value_or(std::vector<int64_t>()))
    map += static_cast<char>(static_cast<uint8_t>(byte));
  normalizer.emplace(options, CharsMap(map));
}

void Tokenizer::Impl::read_sentence_piece(const GgufFile& file) {
  sentence_piece.emplace(vocabulary, unknown);
  read_normalizer(file, false);
  read_added(file, true, false);
}

void Tokenizer::Impl::read_unigram(const GgufFile& file) {
  const bool double_sums = file.find_bool("fathom.tokenizer.double_scores").value_or(false);
  unigram.emplace(vocabulary, unknown, double_sums);
  read_normalizer(file, false);
  read_added(file, false, true);
}

void Tokenizer::Impl::read_word_piece(const GgufFile& file) {
  const auto flag = [&](std::string_view name) {
    return file.find_bool(fmt::format("fathom.tokenizer.word.{}", name)).value_or(true);
  };
  WordPieceOptions options{flag("lowercase"), flag("strip_accents"), flag("separate_cjk"), flag("clean")};
  options.longest = file.find_uint("fathom.tokenizer.word.longest").value_or(options.longest);
  word_piece.emplace(vocabulary, unknown, options);
  read_added(file, true, true);
}

void Tokenizer::Impl::read_special_ids(const GgufFile& file) {
  const auto id = [&](std::string_view name) {
    return read_id(file, fmt::format("tokenizer.ggml.{}_token_id", name), vocabulary.size());
  };
  // What ggml takes where a file does not say; -1: nothing.
  struct Defaults {
    int32_t unknown, bos, eos;
  };
  constexpr Defaults kDefaults[] = {{-1, -1, -1}, {0, 1, 2}, {2, -1, 1}, {100, 101, 102}};
  const Defaults defaults = kDefaults[static_cast<size_t>(family)];
  const auto or_default = [&](std::optional<int32_t> found, int32_t fallback) -> std::optional<int32_t> {
    if (found || fallback < 0 || static_cast<size_t>(fallback) >= vocabulary.size()) return found;
    return fallback;
  };
  const bool words = family == Family::kWordPiece;
  unknown = or_default(id("unknown"), defaults.unknown);
  bos = id(words ? "cls" : "bos");
  bos = or_default(bos ? bos : id("bos"), defaults.bos);
  eos = id(words ? "seperator" : "eos");
  eos = or_default(eos ? eos : id("eos"), defaults.eos);
  eot = id("eot");
  for (const std::string_view text : kTurnEnds)
    if (!eot) eot = find_special(text);
  ends.assign(vocabulary.size(), false);
  const auto mark = [&](std::optional<int32_t> end) {
    if (end) ends[static_cast<size_t>(*end)] = true;
  };
  mark(eos);
  mark(eot);
  mark(id("eom"));
  for (const std::string_view text : kEnds) mark(find_special(text));
}

std::string Tokenizer::Impl::piece_of(size_t id) const {
  const std::string& text = vocabulary.texts[id];
  switch (vocabulary.types[id]) {
    case TokenType::kControl:
    case TokenType::kUnknown: return "";
    case TokenType::kUserDefined: return text;
    case TokenType::kByte:
      if (const auto byte = byte_of_token(text)) return std::string(1, static_cast<char>(*byte));
      return text;
    case TokenType::kNormal:
    case TokenType::kUnused: break;
  }
  return family == Family::kBytePair ? bytes_of_gpt2_text(text) : with_spaces(text);
}

std::optional<int32_t> Tokenizer::Impl::find_special(std::string_view text) const {
  const auto found = ids->find(text);
  if (!found) return std::nullopt;
  const TokenType type = vocabulary.types[static_cast<size_t>(*found)];
  if (type != TokenType::kControl && type != TokenType::kUserDefined) return std::nullopt;
  return found;
}

bool Tokenizer::Impl::is_control(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= vocabulary.size()) return false;
  const TokenType type = vocabulary.types[static_cast<size_t>(id)];
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

std::string Tokenizer::Impl::spelled(std::string_view text) const {
  if (normalizer && !spells_spaces()) return std::string(text);  // the normaliser sees to it
  const bool is_valid = is_valid_utf8(text);
  std::string valid = is_valid     ? std::string(text)
                      : normalizer ? replace_bad_bytes(text)
                                   : sanitize_utf8(text);
  if (nfc) return to_nfc(valid);
  return spells_spaces() ? with_piece_spaces(valid) : valid;
}

/// How a special token stands in spelled text. Empty where SentencePiece never finds it: a user-defined piece with
/// plain spaces beside a piece of the same text with U+2581, as in Grok-1's vocabulary.
std::string Tokenizer::Impl::searchable(const std::string& token) const {
  std::string text = spelled(token);
  return text != token && ids->find(text) ? std::string() : text;
}

/// `permitted(token, begin)`: may the token that stands at `begin` be taken for itself?
template <class Permitted>
std::vector<int32_t> Tokenizer::Impl::encode(std::string_view text, Permitted permitted) const {
  if (text.size() > kMaxText)
    throw Error(ErrorCode::kResourceExhausted,
                fmt::format("a text of {} bytes is longer than the {} that can be encoded at once",
                            text.size(), kMaxText));
  std::vector<int32_t> out;
  if (family == Family::kBytePair)
    encode_byte_pair(text, permitted, out);
  else if (family == Family::kWordPiece)
    encode_words(text, permitted, out);
  else if (spells_spaces())
    encode_sentence_piece(text, permitted, out);
  else
    encode_normalized(text, permitted, out);
  return out;
}

template <class Permitted>
void Tokenizer::Impl::encode_byte_pair(std::string_view text, Permitted permitted,
                                       std::vector<int32_t>& out) const {
  BytePairEncoder::Workspace workspace;
  const auto plain = [&](size_t begin, size_t end) {
    const std::string_view part = text.substr(begin, end - begin);
    size_t word_begin = 0;
    for (const size_t word_end : split_words(pre_tokenizer, part)) {
      byte_pair->encode(part.substr(word_begin, word_end - word_begin), out, workspace);
      word_begin = word_end;
    }
  };
  scan(*specials, text, permitted, plain, [&](const SpecialToken& token) { out.push_back(token.id); });
}

/// Control tokens cut the text into parts that each get the space prefix, as in llama.cpp; user-defined pieces stand
/// within a part, as in SentencePiece, and may take the prefix in.
template <class Permitted>
void Tokenizer::Impl::encode_sentence_piece(std::string_view text, Permitted permitted,
                                            std::vector<int32_t>& out) const {
  const std::string prefix(add_space_prefix ? kPieceSpace : "");
  const auto push = [&](const SpecialToken& token) { out.push_back(token.id); };
  const auto part = [&](size_t begin, size_t end) {
    const std::string prefixed = prefix + std::string(text.substr(begin, end - begin));
    const auto user_defined = [&](const SpecialToken& token, size_t at) {
      return !token.is_control && permitted(token, begin + std::max(at, prefix.size()) - prefix.size());
    };
    const auto plain = [&](size_t plain_begin, size_t plain_end) {
      encode_pieces(std::string_view(prefixed).substr(plain_begin, plain_end - plain_begin), out);
    };
    scan(*specials, prefixed, user_defined, plain, push);
  };
  const auto control = [&](const SpecialToken& token, size_t at) {
    return token.is_control && permitted(token, at);
  };
  scan(*specials, text, control, part, push);
}

/// The same with a normaliser that changes text: special tokens are found in the text as it was given, and each stretch
/// between them is normalised.
template <class Permitted>
void Tokenizer::Impl::encode_normalized(std::string_view text, Permitted permitted,
                                        std::vector<int32_t>& out) const {
  SpaceNormalizer::State state;
  std::string stretch;
  const auto plain = [&](size_t begin, size_t end) {
    normalizer->append(text.substr(begin, end - begin), state, stretch);
    if (end == text.size()) normalizer->finish(stretch);
  };
  const auto push = [&](const SpecialToken& token) {
    if (token.is_control)
      normalizer->finish(stretch);
    else
      normalizer->append_before_token(state, stretch);
    encode_pieces(stretch, out);
    stretch.clear();
    if (token.is_control) state = {};
    out.push_back(token.id);
  };
  scan(*specials, text, permitted, plain, push);
  encode_pieces(stretch, out);
}

template <class Permitted>
void Tokenizer::Impl::encode_words(std::string_view text, Permitted permitted,
                                   std::vector<int32_t>& out) const {
  const auto plain = [&](size_t begin, size_t end) {
    word_piece->encode(text.substr(begin, end - begin), out);
  };
  scan(*specials, text, permitted, plain, [&](const SpecialToken& token) { out.push_back(token.id); });
}

void Tokenizer::Impl::encode_pieces(std::string_view normalized, std::vector<int32_t>& out) const {
  if (unigram)
    unigram->encode(normalized, out);
  else
    sentence_piece->encode(normalized, out);
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::from_gguf(const GgufFile& file) {
  auto impl = std::make_unique<Impl>();
  impl->read(file);
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::from_metadata(const std::vector<std::pair<std::string, GgufValue>>& metadata,
                                   std::string name) {
  GgufWriter writer;
  for (const auto& [key, value] : metadata) writer.set(key, value);
  const std::string bytes = writer.serialise();
  return from_gguf(GgufFile::parse(std::as_bytes(std::span(bytes)), std::move(name)));
}

size_t Tokenizer::size() const { return impl_->vocabulary.size(); }

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool allow_special) const {
  return impl_->encode(impl_->spelled(text), [allow_special](const SpecialToken& token, size_t) {
    return allow_special || !token.is_control;
  });
}

std::vector<int32_t> Tokenizer::encode(std::span<const Segment> segments) const {
  JoinedText joined;
  for (const Segment& segment : segments) joined.append(impl_->spelled(segment.text), segment.is_template);
  return impl_->encode(joined.text, [&joined](const SpecialToken& token, size_t begin) {
    const bool is_plain = !token.is_control && !token.is_markup;
    return is_plain || joined.is_trusted(begin, begin + token.text.size());
  });
}

std::string Tokenizer::decode(std::span<const int32_t> tokens, bool keep_special) const {
  std::string out;
  bool first = impl_->add_space_prefix || impl_->family == Family::kWordPiece;
  for (const int32_t id : tokens) {
    if (id < 0 || static_cast<size_t>(id) >= size()) continue;
    if (is_control(id)) {
      if (keep_special) out += text(id);
      continue;
    }
    std::string_view added = piece(id);
    if (std::exchange(first, false) && added.starts_with(' ')) added.remove_prefix(1);
    out += added;
  }
  return out;
}

std::string_view Tokenizer::piece(int32_t id) const {
  FATHOM_CHECK(id >= 0 && static_cast<size_t>(id) < size());
  return impl_->pieces[static_cast<size_t>(id)];
}

std::string_view Tokenizer::text(int32_t id) const {
  FATHOM_CHECK(id >= 0 && static_cast<size_t>(id) < size());
  return impl_->vocabulary.texts[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::find(std::string_view text) const { return impl_->ids->find(text); }

bool Tokenizer::is_control(int32_t id) const { return impl_->is_control(id); }

bool Tokenizer::is_end(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < size() && impl_->ends[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::bos() const { return impl_->bos; }
std::optional<int32_t> Tokenizer::eos() const { return impl_->eos; }
std::optional<int32_t> Tokenizer::eot() const { return impl_->eot; }
bool Tokenizer::add_bos() const { return impl_->add_bos; }
bool Tokenizer::add_eos() const { return impl_->add_eos; }

}  // namespace fathom::model
