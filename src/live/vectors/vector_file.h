// The file of a graph of vectors (little-endian):
//   "FTHMVEC1" | dimensions u32 | links u32 | nodes u32 | ranges u32 | size of the model's name u32 | known u64 |
//   ranges: after u64, last u64 | model's name |
//   nodes: state u8, sequence u64, created i64, sketch u64, scale f32, codes [dimensions] i8, links [of all its levels] u32 |
//   XXH64 of all before u64
// How many links a node has follows from its number (hnsw.h), so that the sizes at the start fix the size of the whole.
//
// It replaces the last one only when it is whole. Pure functions but for the file; what is read is checked in full, so that no
// bytes do harm.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "live/vectors/backlog.h"
#include "live/vectors/hnsw.h"

namespace fathom::live {

struct VectorFile {
  std::string model;
  Backlog backlog;
  std::unique_ptr<Hnsw> graph;
};

/// Errors: kIo, kResourceExhausted (disk full).
void write_vector_file(const std::filesystem::path& path, std::string_view model, const Backlog& backlog,
                       const Hnsw& graph);

/// `options` but for the dimensions, which are the file's, and for the links, which must be the same. A file of more nodes than
/// `options.most_nodes` is not taken. `name` stands in errors. Errors: kCorrupt; kUnsupported: other links or too many nodes.
VectorFile read_vector_file(std::span<const std::byte> bytes, const HnswOptions& options,
                            std::string_view name);

}  // namespace fathom::live
