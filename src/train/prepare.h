// From documents to a dataset: read, refuse what is broken, drop duplicates, tokenise, hold some out, write shards.
//
// Threads parse, hash and tokenise batches of documents; what is kept is decided and written in the order of the input, so
// that the dataset does not depend on their number. A document is dropped when an earlier one is equal (SHA-256) or nearly
// so (train/near_duplicates.h). Whether it is held out follows from its own digest: the same document always goes to the
// same side, whatever else is there.
//
// OUT/train and OUT/held-out are datasets (train/dataset.h), OUT/tokenizer.gguf is the tokenizer. Memory: a batch of some
// MiB, and about 350 bytes a document for duplicates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "train/dataset.h"
#include "train/documents.h"
#include "train/tokenizer_file.h"

namespace fathom::train {

struct PrepareOptions {
  DocumentOptions documents;
  std::filesystem::path out;
  /// Of dialogues, learn every token, not the assistant's turns alone.
  bool learn_all = false;
  bool drop_duplicates = true;
  double near_duplicates = 0.8;  // similarity from which a document is dropped; 0: none is
  size_t max_document =
      0;                // tokens: a longer text becomes several documents, a longer dialogue is cut; 0: any
  double held_out = 0;  // share of the documents, 0 to 1
  bool strict = false;  // the first document that is refused ends it
  std::stop_token stop;
};

struct PrepareReport {
  uint64_t documents = 0;  // read, with those refused
  uint64_t refused = 0;
  uint64_t duplicates = 0;
  uint64_t near_duplicates = 0;
  uint64_t bytes = 0;  // of text in what was kept
  DatasetInfo train, held_out;
  std::vector<std::string> problems;  // the first refusals: "FILE:LINE: why"
};

/// `progress(done, total)` in bytes of the inputs as they lie. Dialogues need the tokenizer to have a chat template, or
/// ChatML's marks. Errors: kInvalidArgument (an option, nothing to read, OUT is not empty; with `strict`, a refusal),
/// kNotFound, kIo, kCorrupt (a damaged zstd file), kCancelled. On any of them OUT is as it was.
PrepareReport prepare(const TokenizerFile& tokenizer, const PrepareOptions& options, ThreadPool& pool,
                      const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace fathom::train
