// A sealed segment answers as the index it was made of does.
#include "live/segment/segment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "live/codec.h"
#include "live/index.h"
#include "segment_support.h"

namespace fathom::live {
namespace {

using testing::add_posts;
using testing::expect_same;
using testing::PostMaker;

TEST(SegmentTest, AnswersAsItsIndex) {
  const TempDir dir;
  Index index(100);
  PostMaker maker(1);
  add_posts(index, maker.posts(3000));
  seal(index, index.last_sequence(), dir.path() / "a.seg", {});
  const auto segment = Segment::open(dir.path() / "a.seg");
  segment->verify();
  expect_same(index, *segment, index.last_sequence());
}

}  // namespace
}  // namespace fathom::live
