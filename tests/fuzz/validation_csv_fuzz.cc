// Covers MeasuredTable::parse and every read of its cells.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "cluster/validate_table.h"

namespace {

using fathom::cluster::Field;
using fathom::cluster::MeasuredTable;

template <class Call>
void refused_or_done(Call call) {
  try {
    call();
  } catch (const fathom::Error&) {  // any other exception is a finding
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  refused_or_done([&] {
    const auto table = MeasuredTable::parse({reinterpret_cast<const char*>(data), size}, "fuzz.csv");
    for (size_t r = 0; r < table.rows() && r < 100; ++r) {
      const MeasuredTable::Row row = table.row(r);
      for (size_t f = 0; f < static_cast<size_t>(Field::kCount); ++f) {
        const auto field = static_cast<Field>(f);
        refused_or_done([&] { (void)row.number(field, -1e300, 1e300); });
        refused_or_done([&] { (void)row.flag(field); });
        refused_or_done([&] {
          const auto count = row.count(field, 1, 1000);
          if (count && (*count < 1 || *count > 1000)) __builtin_trap();
        });
      }
    }
  });
  return 0;
}
