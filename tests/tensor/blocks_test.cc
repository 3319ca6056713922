// Every block format against what ggml makes of the same bytes (testdata/blocks.json, made by record_blocks.py): numbers equal
// to the bit, products with activations up to the order of float sums, on every instruction set.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tensor/buffer.h"
#include "tensor/kernels.h"
#include "tensor/matmul.h"
#include "tensor/matmul_k.h"
#include "tensor/packed.h"

namespace fathom::tensor {
namespace {

template <class T>
std::vector<T> from_hex(const std::string& text) {
  std::vector<T> out(text.size() / 2 / sizeof(T));
  std::vector<uint8_t> bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
  return out;
}

struct Recorded {
  DType dtype;
  std::vector<std::vector<std::byte>> rows;
  std::vector<std::vector<float>> values;
  std::vector<float> products;
};

struct Recording {
  size_t cols;
  std::vector<float> x;
  std::vector<Recorded> formats;
};

Recording read_recording() {
  std::ifstream file(FATHOM_SOURCE_DIR "/tests/tensor/testdata/blocks.json");
  const auto json = nlohmann::json::parse(file);
  Recording out{json.at("cols"), from_hex<float>(json.at("x")), {}};
  for (const auto& [name, format] : json.at("formats").items()) {
    Recorded r{dtype_from_name(name).value(), {}, {}, format.at("products")};
    for (const auto& row : format.at("rows")) r.rows.push_back(from_hex<std::byte>(row));
    for (const auto& row : format.at("values")) r.values.push_back(from_hex<float>(row));
    out.formats.push_back(std::move(r));
  }
  return out;
}

TEST(RecordedBlocks, CoverEveryBlockFormat) {
  const Recording recording = read_recording();
  size_t formats = 0;
  for (const DType dtype : kAllDTypes) formats += block_size(dtype) > 1 ? 1 : 0;
  EXPECT_EQ(recording.formats.size(), formats);
}

TEST(RecordedBlocks, DequantiseToTheSameBits) {
  const Recording recording = read_recording();
  for (const Recorded& format : recording.formats) {
    for (size_t r = 0; r < format.rows.size(); ++r) {
      ASSERT_EQ(format.rows[r].size(), row_bytes(format.dtype, recording.cols)) << name(format.dtype);
      std::vector<float> got(recording.cols);
      dequantize_row(format.dtype, format.rows[r].data(), got.data(), recording.cols);
      EXPECT_EQ(std::memcmp(got.data(), format.values[r].data(), got.size() * sizeof(float)), 0)
          << name(format.dtype) << " row " << r;
    }
  }
}

/// y[rows] = the rows, packed, times x.
std::vector<float> multiply(const Recorded& format, size_t cols, const std::vector<float>& x) {
  std::vector<std::byte> stored;
  for (const auto& row : format.rows) stored.insert(stored.end(), row.begin(), row.end());
  const size_t rows = format.rows.size();
  Buffer memory(packed_bytes(format.dtype, rows, cols));
  const PackedMatrix w{format.dtype, rows, cols, packed_group_bytes(format.dtype, cols),
                       memory.as<std::byte>()};
  pack_groups(format.dtype, stored.data(), rows, cols, 0, w.groups(), memory.as<std::byte>());
  std::vector<float> y(rows);
  std::vector<int8_t> q(cols);
  std::vector<float> scale(cols / 32), scaled_sum(cols / 32);
  if (activation_form(format.dtype) == ActivationForm::kQ8K) {
    std::vector<int16_t> sums(cols / 256 * Q8KRows::kSums);
    const Q8KRows a{1, cols, q.data(), scale.data(), sums.data()};
    quantise_row_q8k(x.data(), a, 0);
    matmul_q8k(w, a, 0, w.groups(), {y.data(), rows, false});
  } else {
    std::vector<int32_t> sum(cols / 32);
    const Q8Rows a{1, cols, q.data(), scale.data(), scaled_sum.data(), sum.data()};
    quantise_row_q8(x.data(), a, 0);
    matmul_q8(w, a, 0, w.groups(), {y.data(), rows, false});
  }
  return y;
}

using RecordedProducts = Kernels;

TEST_P(RecordedProducts, EqualThoseOfGgml) {
  const Recording recording = read_recording();
  for (const Recorded& format : recording.formats)
    EXPECT_LT(distance(multiply(format, recording.cols, recording.x), format.products), 1e-6)
        << name(format.dtype);
}

INSTANTIATE_TEST_SUITE_P(All, RecordedProducts, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

}  // namespace
}  // namespace fathom::tensor
