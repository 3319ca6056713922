// Writes a segment file: first all documents in order, then all terms in order. What seal and merge share.
//
// One thread. Nothing stands at the path before `finish` has returned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "live/names.h"
#include "live/post.h"
#include "live/segment/changes.h"
#include "live/segment/columns.h"
#include "live/segment/format.h"
#include "live/segment/postings.h"
#include "live/segment/records.h"
#include "live/segment/terms.h"

namespace fathom::live {

/// From one sampled group of 32 documents to the next: every eighth, or fewer when some 65,000 posts will do.
inline uint32_t sample_stride(uint64_t documents) {
  constexpr uint64_t kSample = 65536, kFewest = 4096, kShare = 8;
  if (documents <= kFewest) return kRecordsPerBlock;
  return kRecordsPerBlock * static_cast<uint32_t>(std::max(kShare, (documents + kSample - 1) / kSample));
}

class SegmentWriter {
 public:
  explicit SegmentWriter(const std::filesystem::path& path);

  /// Neighbouring posts, up to 32, of a sample that records are packed after. Before all documents.
  void learn(std::span<const Post> posts) { records_.learn(posts); }

  /// Takes a document; its number is how many have been taken. `facts` with all counts, `post` without `counts`; source and
  /// language numbers are those of the names given to `finish`.
  void add_document(const DocumentFacts& facts, uint64_t sequence, uint64_t sketch, const Post& post,
                    const CountChange& counts);
  uint32_t documents() const { return columns_.documents(); }

  /// After the last document.
  void begin_terms();
  /// Takes the postings of the next term, from the newest back; then `end_term`.
  PostingWriter& postings() { return *postings_; }
  /// A term without postings is left out.
  void end_term(std::string_view name);

  void finish(const Names& sources, const Names& langs, uint64_t first_sequence, uint64_t last_sequence);

 private:
  void write_names(const Names& sources, const Names& langs);

  SegmentFileWriter file_;
  ScratchFile rows_, sketches_, positions_;
  ColumnWriter columns_;
  RecordWriter records_;
  TermWriter terms_;
  std::optional<PostingWriter> postings_;
  std::vector<uint64_t> key_hashes_, posts_of_;
  DecodedChanges counts_;
  SegmentSummary summary_;
};

}  // namespace fathom::live
