#include "train/sentence_piece_trainer.h"

#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include <exception>
#include <unordered_map>

#include "base/error.h"

namespace fathom::train {
namespace {

/// The library must not see exceptions: one ends the sentences and is kept.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const SentenceSource& source) : source_(source) { Next(); }

  bool done() const override { return done_; }
  void Next() override {
    try {
      done_ = !source_(sentence_);
    } catch (...) {
      failure_ = std::current_exception();
      done_ = true;
    }
  }
  const std::string& value() const override { return sentence_; }
  sentencepiece::util::Status status() const override { return {}; }
  std::exception_ptr failure() const { return failure_; }

 private:
  const SentenceSource& source_;
  std::string sentence_;
  bool done_ = false;
  std::exception_ptr failure_;
};

/// A list as the library reads it from one text (comma-separated values, quoted).
std::string listed(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) {
    if (text.find_first_of("\",\n") != std::string::npos)
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("the special token '{}' has a comma, a quotation mark or a line end", text));
    list += (list.empty() ? "" : ",") + text;
  }
  return list;
}

}  // namespace

std::string train_sentence_piece(const SentencePieceOptions& options, const SentenceSource& source) {
  const std::unordered_map<std::string, std::string> settings{
      {"model_type", options.unigram ? "unigram" : "bpe"},
      {"vocab_size", fmt::format("{}", options.vocab)},
      {"control_symbols", listed(options.special)},
      {"byte_fallback", "true"},
      {"split_digits", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"allow_whitespace_only_pieces", "true"},
      {"character_coverage", "0.9995"},
      {"max_sentence_length", "65536"},
      {"num_threads", "8"},  // sums are by thread: their number is part of the result
      {"minloglevel", "2"},
  };
  Sentences sentences(source);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &sentences, &model);
  if (sentences.failure()) std::rethrow_exception(sentences.failure());
  if (!status.ok())
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("SentencePiece could not train: {}", status.message()));
  return model;
}

}  // namespace fathom::train
