#include "train/tokenizer_trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "base/work_shares.h"
#include "model/chat_template.h"
#include "model/vocabulary.h"
#include "train/byte_pair_trainer.h"
#include "train/sentence_piece_trainer.h"

namespace fathom::train {
namespace {

constexpr size_t kBatchDocuments = 4096;
constexpr size_t kBatchBytes = size_t{8} << 20;
constexpr size_t kMostProblems = 20;
constexpr size_t kMostVocab = size_t{1} << 20;

[[noreturn]] void wrong(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

void check(const TokenizerOptions& options) {
  if (options.documents.inputs.empty()) wrong("there is no input");
  if (options.vocab > kMostVocab) wrong(fmt::format("a vocabulary has at most {} tokens", kMostVocab));
  if (options.vocab < 256 + options.special.size() + 3)
    wrong("a vocabulary has room for 256 bytes, the special tokens and something to learn");
  std::set<std::string_view> seen;
  for (const std::string& text : options.special)
    if (text.empty() || text.size() > 256 || !is_valid_utf8(text) || !seen.insert(text).second)
      wrong(fmt::format("the special token '{}' is empty, too long, no UTF-8 or there twice",
                        sanitize_utf8(text)));
}

/// Why a document is refused; empty where it is not, and has been used.
template <class Use>
std::string use_if_parsed(const RawDocument& raw, const DocumentOptions& options, Use use) {
  try {
    use(parse_document(raw, options));
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void count(const DocumentReader& reader, const RawDocument& raw, const std::string& refusal,
           TrainedTokenizer& out) {
  ++out.documents;
  out.bytes += raw.bytes.size();
  if (refusal.empty()) return;
  ++out.refused;
  if (out.problems.size() < kMostProblems)
    out.problems.push_back(fmt::format("{}: {}", reader.place(raw), refusal));
}

/// Reads batches; `use(thread, texts)` is called on the pool for what could be parsed of each document.
template <class Use>
void read_all(const TokenizerOptions& options, ThreadPool& pool, const TokenizerProgress& progress,
              TrainedTokenizer& out, Use use) {
  DocumentReader reader(options.documents);
  std::vector<RawDocument> batch;
  std::vector<std::string> refusals;
  WorkShares shares(pool.size());
  while (reader.next(batch, kBatchDocuments, kBatchBytes, options.stop)) {
    refusals.assign(batch.size(), {});
    shares.begin(batch.size());
    pool.run([&](size_t thread) {
      for (auto piece = shares.take(thread, 1, 64); !piece.empty(); piece = shares.take(thread, 1, 64))
        for (size_t i = piece.begin; i < piece.end; ++i)
          refusals[i] =
              use_if_parsed(batch[i], options.documents, [&](const Document& d) { use(thread, d); });
    });
    for (size_t i = 0; i < batch.size(); ++i) count(reader, batch[i], refusals[i], out);
    progress.read(reader.position(), reader.total_bytes());
  }
  if (out.documents == out.refused)
    wrong(out.problems.empty() ? "the input holds no document"
                               : "no document could be used; the first: " + out.problems[0]);
}

/// The roles of a dialogue too: a chat template writes them.
template <class Use>
void for_each_text(const Document& document, Use use) {
  if (document.messages.is_null()) return use(document.text);
  for (const auto& message : document.messages)
    for (const char* member : {"role", "content"}) use(message[member].get_ref<const std::string&>());
}

/// Counted in parallel; counts add up to the same in any order.
std::vector<CountedWord> count_words(const TokenizerOptions& options, model::PreTokenizer rules,
                                     ThreadPool& pool, const TokenizerProgress& progress,
                                     TrainedTokenizer& out) {
  std::vector<WordCounter> counters(pool.size(), WordCounter(rules));
  read_all(options, pool, progress, out, [&](size_t thread, const Document& document) {
    for_each_text(document, [&](const std::string& text) { counters[thread].add(text); });
  });
  for (size_t t = 1; t < counters.size(); ++t) counters[0].merge(counters[t]);
  return counters[0].take();
}

void add_chat_template(const TokenizerOptions& options, model::TokenizerMetadata& metadata) {
  const auto has = [&](std::string_view text) {
    return std::ranges::find(options.special, text) != options.special.end();
  };
  std::string text = options.chat_template;
  if (text.empty() && has("<|im_start|>") && has("<|im_end|>")) text = model::ChatTemplate::chatml_text();
  if (!text.empty()) {
    model::ChatTemplate::parse(text);  // refused here, not when it is first used
    metadata.emplace_back("tokenizer.chat_template", text);
  }
}

model::TokenizerMetadata byte_pair_metadata(const TokenizerOptions& options, const BytePairs& pairs) {
  std::vector<std::string> tokens = options.special, merges;
  tokens.insert(tokens.end(), pairs.symbols.begin(), pairs.symbols.end());
  std::vector<int32_t> types(tokens.size(), static_cast<int32_t>(model::TokenType::kNormal));
  std::fill_n(types.begin(), options.special.size(), static_cast<int32_t>(model::TokenType::kControl));
  for (const auto& [left, right] : pairs.merges)
    merges.push_back(pairs.symbols[left] + " " + pairs.symbols[right]);
  model::TokenizerMetadata metadata{
      {"tokenizer.ggml.model", std::string("gpt2")}, {"tokenizer.ggml.pre", options.pre},
      {"tokenizer.ggml.tokens", std::move(tokens)},  {"tokenizer.ggml.token_type", std::move(types)},
      {"tokenizer.ggml.merges", std::move(merges)},  {"fathom.tokenizer.ignore_merges", false}};
  if (!options.special.empty()) {
    metadata.emplace_back("tokenizer.ggml.bos_token_id", uint32_t{0});
    metadata.emplace_back("tokenizer.ggml.eos_token_id", uint32_t{0});
  }
  metadata.emplace_back("tokenizer.ggml.add_bos_token", false);
  metadata.emplace_back("tokenizer.ggml.add_eos_token", false);
  return metadata;
}

void train_pairs(const TokenizerOptions& options, ThreadPool& pool, const TokenizerProgress& progress,
                 TrainedTokenizer& out) {
  const auto rules = model::pre_tokenizer_from_name(options.pre);
  if (!rules) wrong(fmt::format("there are no pre-tokenizer rules of the name '{}'", options.pre));
  const auto words = count_words(options, *rules, pool, progress, out);
  const size_t symbols = options.vocab - options.special.size();
  const auto pairs =
      train_byte_pairs(words, symbols, std::max<uint64_t>(1, options.min_count), [&](size_t done) {
        if (options.stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
        progress.merge(done, symbols);
      });
  out.metadata = byte_pair_metadata(options, pairs);
}

/// Lines of the documents, in order.
class LinesOfDocuments {
 public:
  LinesOfDocuments(const TokenizerOptions& options, const TokenizerProgress& progress, TrainedTokenizer& out)
      : options_(options), progress_(progress), out_(out), reader_(options.documents) {}

  bool next(std::string& line) {
    while (lines_.empty())
      if (!read()) return false;
    line = std::move(lines_.front());
    lines_.pop_front();
    return true;
  }

 private:
  bool read() {
    if (!reader_.next(batch_, 1, 1, options_.stop)) return false;
    const auto refusal = use_if_parsed(batch_[0], options_.documents, [&](const Document& document) {
      for_each_text(document, [&](std::string_view text) {
        for (const std::string_view line : split(text, '\n'))
          if (!trim(line).empty()) lines_.emplace_back(line);
      });
    });
    count(reader_, batch_[0], refusal, out_);
    progress_.read(reader_.position(), reader_.total_bytes());
    return true;
  }

  const TokenizerOptions& options_;
  const TokenizerProgress& progress_;
  TrainedTokenizer& out_;
  DocumentReader reader_;
  std::vector<RawDocument> batch_;
  std::deque<std::string> lines_;
};

void train_pieces(const TokenizerOptions& options, const TokenizerProgress& progress, TrainedTokenizer& out) {
  SentencePieceOptions pieces;
  pieces.unigram = options.kind == TokenizerKind::kUnigram;
  pieces.vocab = options.vocab;
  pieces.special = options.special;
  LinesOfDocuments lines(options, progress, out);
  out.sentence_piece = train_sentence_piece(pieces, [&](std::string& line) { return lines.next(line); });
  out.metadata = model::sentence_piece_metadata(out.sentence_piece);
}

}  // namespace

TrainedTokenizer train_tokenizer(const TokenizerOptions& options, ThreadPool& pool,
                                 const TokenizerProgress& progress) {
  check(options);
  TrainedTokenizer out;
  if (options.kind == TokenizerKind::kBytePair)
    train_pairs(options, pool, progress, out);
  else
    train_pieces(options, progress, out);
  add_chat_template(options, out.metadata);
  return out;
}

}  // namespace fathom::train
