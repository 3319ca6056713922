// The names that a Hugging Face checkpoint's tensors have in GGUF, and what becomes of their numbers. Pure, thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::model {

/// What conversion does to a tensor besides naming it.
enum class HfChange {
  kNone,
  kQueryRows,  // of q: rows of each head from halves to neighbours
  kKeyRows,    // of k
  kNorm,       // a norm's weight
  kF32,        // kept in F32: routers, tables of positions
};

enum class HfPlace { kMapped, kPassedOver, kUnknown };

struct HfName {
  HfPlace place = HfPlace::kUnknown;
  std::string gguf;  // where kMapped
  HfChange change = HfChange::kNone;
};

/// `architecture`: GGUF's. Passed over: what a forward pass of the text model has no use for (vision towers, poolers, tables
/// that are computed here).
HfName gguf_name(std::string_view architecture, std::string_view name);

/// The way back, for decoders: the name in a checkpoint of what GGUF calls `gguf` ("blk.0.attn_q.weight", of one expert
/// "blk.0.ffn_gate.3.weight"). Empty where it has none.
std::string hugging_face_name(std::string_view architecture, std::string_view gguf);

}  // namespace fathom::model
