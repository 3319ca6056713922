// A sealed segment answers as the index it was made of does.
#include "live/segment/segment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "live/analysis.h"
#include "live/codec.h"
#include "live/index.h"
#include "segment_support.h"
#include "segment_walk.h"

namespace fathom::live {
namespace {

using testing::expect_same;
using testing::expect_same_postings;
using testing::PostMaker;

/// An index over posts of which some replace others, some are deleted, some are liked later.
struct Made {
  explicit Made(uint64_t seed, size_t count, uint64_t base = 100) : index(base), maker(seed) {
    grow(index, count);
  }

  void grow(Index& into, size_t count) {
    PreparedBatch batch;
    for (size_t i = 0; i < count; ++i) {
      Post post = maker.post();
      if (!posts.empty() && maker.random().chance(0.05)) {  // an edit or an order to delete
        const Post& known = posts[maker.random().below(posts.size())];
        post.id = known.id;
        post.source = known.source;
        post.deleted = maker.random().chance(0.3);
      }
      posts.push_back(post);
      batch.add(post);
    }
    for (size_t i = 0; i < batch.size(); ++i) into.add(batch[i], into.last_sequence() + 1);
    for (size_t i = 0; i < count / 20; ++i) {
      const auto number = static_cast<uint32_t>(1 + maker.random().below(into.documents()));
      if (into.record(number).empty() || (into.facts(number).flags & DocumentFacts::kTombstone) != 0)
        continue;
      into.add_counts(number, {static_cast<int32_t>(maker.random().below(50)),
                               static_cast<int32_t>(maker.random().below(5)) - 2, 1});
    }
  }

  Index index;
  PostMaker maker;
  std::vector<Post> posts;
};

class SegmentTest : public ::testing::Test {
 protected:
  std::shared_ptr<Segment> sealed(const Index& index) { return sealed(index, index.last_sequence()); }
  std::shared_ptr<Segment> sealed(const Index& index, uint64_t sequence) {
    const auto path = next_path();
    seal(index, sequence, path, {});
    auto segment = Segment::open(path);
    segment->verify();
    return segment;
  }
  std::shared_ptr<Segment> merged(const std::vector<std::shared_ptr<Segment>>& segments, uint64_t sequence,
                                  Time forget_before = Time::min()) {
    const auto path = next_path();
    merge(segments, sequence, forget_before, path, {});
    auto segment = Segment::open(path);
    segment->verify();
    return segment;
  }
  std::filesystem::path next_path() { return dir_.path() / fmt::format("{}.seg", ++files_); }

  TempDir dir_;
  int files_ = 0;
};

std::vector<std::string> terms_of(const Index& index) {
  std::vector<std::string> terms;
  for (uint32_t i = 0; i < index.terms(); ++i) terms.emplace_back(index.term_at(i).text());
  return terms;
}

/// Phrases that stand in texts, that nearly do, and that do not.
std::vector<Phrase> phrases_of(const std::vector<Post>& posts, Random& random, size_t count) {
  std::vector<Phrase> phrases;
  TokenList tokens;
  while (phrases.size() < count) {
    analyze(posts[random.below(posts.size())].text, tokens);
    if (tokens.tokens.size() < 3) continue;
    const size_t begin = random.below(tokens.tokens.size() - 2);
    Phrase phrase;
    for (size_t i = begin; i < std::min(begin + 2 + random.below(3), tokens.tokens.size()); ++i)
      phrase.terms.emplace_back(tokens.tokens[i].position - tokens.tokens[begin].position,
                                std::string(tokens.term(tokens.tokens[i])));
    if (random.chance(0.3)) phrase.terms.back().first += 1;
    if (random.chance(0.1)) phrase.terms.back().second += "x";
    phrases.push_back(phrase);
  }
  return phrases;
}

void expect_same_phrases(const Index& index, const Segment& segment, const std::vector<Phrase>& phrases) {
  size_t found = 0;
  for (const Phrase& phrase : phrases) {
    auto cursor = segment.phrase(phrase, segment.documents() + 1);
    for (uint32_t number = segment.documents(); number > 0; --number) {
      const auto in_index = static_cast<uint32_t>(segment.sequence(number) - (index.first_sequence() - 1));
      const bool has = cursor.has(number);
      ASSERT_EQ(has, index.has_phrase(in_index, phrase))
          << segment.text(number) << " / " << phrase.terms[0].second;
      if (!has) continue;
      ++found;
      ASSERT_TRUE(segment.has_phrase(number, phrase));
    }
  }
  EXPECT_GT(found, phrases.size() / 3);
}

TEST_F(SegmentTest, AnswersAsItsIndex) {
  Made made(1, 3000);
  const auto segment = sealed(made.index);
  const uint64_t sequence = made.index.last_sequence();
  expect_same(made.index, *segment, sequence);
  for (const auto& term : terms_of(made.index)) expect_same_postings(made.index, *segment, term, sequence);
  for (const char* absent : {"", "absent", "zzzzzzzzzzzzzzzzzzzz", "w", "\x01"})
    EXPECT_FALSE(segment->term(absent));
  EXPECT_EQ(segment->posts(), made.index.posts());
  EXPECT_EQ(segment->words(), made.index.words());
  EXPECT_EQ(segment->first_sequence(), 101u);
  EXPECT_EQ(segment->last_sequence(), sequence);
  for (size_t source = 0; source < segment->sources().size(); ++source)
    EXPECT_EQ(segment->posts_of(source), made.index.posts_of(source));
}

TEST_F(SegmentTest, PhrasesAreThoseOfTheTexts) {
  Made made(2, 800);
  const auto segment = sealed(made.index);
  expect_same_phrases(made.index, *segment, phrases_of(made.posts, made.maker.random(), 60));
}

TEST_F(SegmentTest, SequencesCutDocuments) {
  Made made(3, 2500);
  const auto segment = sealed(made.index);
  for (uint64_t sequence = 90; sequence < made.index.last_sequence() + 10; sequence += 7) {
    const uint32_t end = segment->end(sequence);
    if (end > 1) {
      ASSERT_LE(segment->sequence(end - 1), sequence);
    }
    if (end <= segment->documents()) {
      ASSERT_GT(segment->sequence(end), sequence);
    }
  }
}

TEST_F(SegmentTest, SeeksAsAWalkDoes) {
  Made made(4, 4000);
  const auto segment = sealed(made.index);
  Random& random = made.maker.random();
  for (const char* name : {"w1", "w2", "w7", "w30", "w150", "the", "from:author7", "#bignews3"}) {
    const auto term = segment->term(name);
    ASSERT_TRUE(term) << name;
    std::vector<uint32_t> all;
    auto walk = segment->cursor(term, segment->documents() + 1);
    for (uint32_t d = walk.document(); d != 0; d = walk.seek(d - 1)) all.push_back(d);
    for (int round = 0; round < 20; ++round) {
      auto end = static_cast<uint32_t>(1 + random.below(segment->documents() + 1));
      auto cursor = segment->cursor(term, end);
      uint32_t at = end - 1;
      while (true) {
        const auto expected = std::lower_bound(all.begin(), all.end(), at, std::greater<>());
        const uint32_t wanted = expected == all.end() ? 0 : *expected;
        if (wanted != 0) {
          ASSERT_LE(cursor.block(at).lowest, wanted);
        }
        ASSERT_EQ(cursor.seek(at), wanted);
        if (wanted == 0) break;
        at -= std::min<uint32_t>(at, static_cast<uint32_t>(1 + random.below(round < 10 ? 5 : 500)));
      }
    }
  }
}

TEST_F(SegmentTest, LeavesOutWhatDiedByTheSequence) {
  Made made(5, 600);
  const uint64_t sequence = made.index.last_sequence();
  made.index.bury(7, sequence);
  made.index.bury(9, sequence + 5);  // later than the sealing
  const auto segment = sealed(made.index, sequence);
  expect_same(made.index, *segment, sequence);
  EXPECT_EQ(segment->find_key(key_hash(made.index.key(7)), made.index.key(7)), 0u);
}

TEST_F(SegmentTest, AnEmptyIndexAndADeadOneAreSegments) {
  Index empty(10);
  EXPECT_EQ(sealed(empty)->documents(), 0u);
  Made made(6, 10);
  for (uint32_t number = 1; number <= made.index.documents(); ++number) made.index.bury(number, 1);
  const auto segment = sealed(made.index);
  EXPECT_EQ(segment->documents(), 0u);
  EXPECT_EQ(segment->end(1'000'000), 1u);
  EXPECT_FALSE(segment->term("w1"));
  EXPECT_EQ(segment->find_key(1, "a:1"), 0u);
  EXPECT_EQ(merged({segment, segment}, 5)->documents(), 0u);
}

TEST_F(SegmentTest, DeathsAndCountsComeAfterwards) {
  Made made(7, 1500);
  const auto segment = sealed(made.index);
  const uint64_t last = segment->last_sequence();
  const uint64_t posts = segment->posts(), words = segment->words();
  uint32_t number = 5;
  while ((segment->facts(number).flags & DocumentFacts::kTombstone) != 0) ++number;
  segment->bury(number, last + 3);
  segment->bury(number, last + 9);  // dead already
  EXPECT_TRUE(segment->alive(number, last + 2));
  EXPECT_FALSE(segment->alive(number, last + 3));
  EXPECT_EQ(segment->posts(), posts - 1);
  EXPECT_EQ(segment->words(), words - segment->rank_facts(number).length);

  const Post before = segment->post(1400);
  const std::string record = segment->record(1400);
  segment->add_counts(1400, {30'000, 2, -1000});
  segment->add_counts(1400, {5, 0, 0});
  const Post after = segment->post(1400);
  EXPECT_EQ(after.metrics.likes, before.metrics.likes.value_or(0) + 30'005);
  EXPECT_EQ(after.metrics.replies, 0);
  EXPECT_EQ(segment->facts(1400).likes, static_cast<uint32_t>(*after.metrics.likes));
  EXPECT_EQ(segment->facts(1400).engagement,
            log_steps(static_cast<double>(*after.metrics.likes + after.metrics.reposts.value_or(0))));
  EXPECT_GE(segment->bounds(1400 >> kBlockBits).engagement, segment->facts(1400).engagement);
  EXPECT_EQ(segment->record(1400), record);

  segment->write_changes(dir_.path() / "changes");
  const auto again = Segment::open(segment->path());
  again->read_changes(dir_.path() / "changes");
  expect_same(*segment, *again, last);
  EXPECT_FALSE(again->alive(number, last + 3));
  EXPECT_EQ(again->posts(), segment->posts());
  const auto both = merged({again}, last + 100);
  expect_same(*again, *both, last + 100);
  EXPECT_EQ(both->post(both->find_key(key_hash(after.key()), after.key())).metrics.likes,
            after.metrics.likes);
}

TEST_F(SegmentTest, MergedIsAsSealedAtOnce) {
  Made made(8, 0);
  Index all(0);
  std::vector<std::shared_ptr<Segment>> segments;
  PreparedBatch batch;
  for (const size_t count : {400, 1, 900, 150}) {
    Index part(all.last_sequence());
    batch.clear();
    for (size_t i = 0; i < count; ++i) {
      made.posts.push_back(made.maker.post());
      batch.add(made.posts.back());
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      all.add(batch[i], all.last_sequence() + 1);
      part.add(batch[i], part.last_sequence() + 1);
    }
    segments.push_back(sealed(part));
  }
  for (uint32_t dead : {3u, 402u, 700u, 1400u}) {
    const uint64_t end = 2000 + dead;
    all.bury(dead, end);
    for (const auto& segment : segments)
      if (dead >= segment->first_sequence() && dead <= segment->last_sequence())
        segment->bury(static_cast<uint32_t>(dead - segment->first_sequence() + 1), end);
  }
  const uint64_t sequence = 2500;  // two of them have died by then
  const auto one = sealed(all, sequence);
  const auto many = merged(segments, sequence);
  EXPECT_EQ(one->documents(), all.documents() - 2);
  expect_same(*one, *many, UINT64_MAX);
  for (const auto& term : terms_of(all)) expect_same_postings(*one, *many, term, UINT64_MAX);
  EXPECT_EQ(one->terms(), many->terms());
  EXPECT_EQ(one->posts(), many->posts());
  EXPECT_EQ(one->words(), many->words());
  EXPECT_EQ(one->last_sequence(), many->last_sequence());
  expect_same_phrases(all, *many, phrases_of(made.posts, made.maker.random(), 25));
  // Merging in two steps is merging at once.
  const auto first = merged({segments[0], segments[1]}, sequence);
  const auto second = merged({segments[2], segments[3]}, sequence);
  const auto twice = merged({first, second}, sequence);
  expect_same(*many, *twice, UINT64_MAX);
  for (const auto& term : terms_of(all)) expect_same_postings(*many, *twice, term, UINT64_MAX);
}

TEST_F(SegmentTest, OldTombstonesAreForgottenByAMerge) {
  Index index(0);
  PreparedBatch batch;
  PostMaker maker(9);
  for (int i = 0; i < 4; ++i) {
    Post order = maker.post();
    order.deleted = true;
    order.created_at = Time(Micros(i * 1000));
    order.received_at = order.created_at;
    batch.add(order);
  }
  for (size_t i = 0; i < batch.size(); ++i) index.add(batch[i], i + 1);
  const auto segment = sealed(index);
  EXPECT_EQ(segment->documents(), 4u);
  EXPECT_EQ(segment->posts(), 0u);
  EXPECT_EQ(segment->facts(2).flags, DocumentFacts::kTombstone);
  EXPECT_EQ(merged({segment}, 100)->documents(), 4u);
  EXPECT_EQ(merged({segment}, 100, Time(Micros(2000)))->documents(), 2u);
}

TEST_F(SegmentTest, IsTheSameFileForTheSamePosts) {
  Made a(10, 500), b(10, 500);
  EXPECT_TRUE(read_file(sealed(a.index)->path()) == read_file(sealed(b.index)->path()));
}

/// The records of these two are the same bytes; what their codes stand for is not.
TEST_F(SegmentTest, OneIsNotTakenForAnotherOfEqualRecords) {
  const auto made_of = [&](const std::string& prefix) {
    Index index(0);
    PreparedBatch batch;
    for (int i = 0; i < 40; ++i) {
      Post post;
      post.source = "test";
      post.id = prefix + std::to_string(i);
      post.text = "words of " + prefix;
      post.created_at = post.received_at = Time(Micros(testing::kStart));
      batch.add(post);
    }
    for (size_t i = 0; i < batch.size(); ++i) index.add(batch[i], i + 1);
    return sealed(index);
  };
  const auto one = made_of("a"), other = made_of("b");
  for (uint32_t number = 1; number <= 40; ++number) {
    EXPECT_EQ(one->key(number), "test:a" + std::to_string(number - 1));
    EXPECT_EQ(other->key(number), "test:b" + std::to_string(number - 1));
    EXPECT_EQ(other->text(number), "words of b");
  }
}

/// What a thread has read of a segment is not taken for what stands in a damaged copy of it.
TEST_F(SegmentTest, AnIntactOneIsNotReadInADamagedOnesPlace) {
  Made made(15, 200);
  const auto whole = sealed(made.index);
  EXPECT_NO_THROW(whole->post(1));
  const auto path = next_path();
  std::string bytes = read_file(whole->path());
  SegmentFooter footer;
  std::memcpy(&footer, bytes.data() + bytes.size() - sizeof footer, sizeof footer);
  SegmentFile::Entry entry;
  for (size_t at = footer.table_offset; entry.kind != static_cast<uint32_t>(SectionKind::kRecords);
       at += sizeof entry)
    std::memcpy(&entry, bytes.data() + at, sizeof entry);
  bytes[entry.offset + 8] ^= 4;
  write_file_atomic(path, bytes);
  EXPECT_THROW(Segment::open(path)->post(1), Error);
}

/// A flipped bit is found by `verify`, which names its section; what is read without it may be wrong and never harms.
TEST_F(SegmentTest, DamageIsNamedAndContained) {
  Made made(12, 300);
  const auto whole = sealed(made.index);
  const std::string bytes = read_file(whole->path());
  Random random(1);
  size_t opened = 0;
  for (int round = 0; round < 200; ++round) {
    std::string damaged = bytes;
    damaged[random.below(bytes.size())] ^= static_cast<char>(1u << random.below(8));
    const auto path = next_path();
    write_file_atomic(path, damaged);
    try {
      const auto segment = Segment::open(path);
      testing::walk_documents(*segment);
      testing::walk_terms(*segment);
      ++opened;
      segment->verify();
      FAIL()
          << "the damage was not found";  // but for the padding between sections, which `bytes` has none of
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kUnsupported)
          << error.what();
    }
    std::filesystem::remove(path);
  }
  EXPECT_GT(opened, 50u);
  for (const size_t size : {size_t{0}, size_t{10}, bytes.size() / 2, bytes.size() - 1}) {
    const auto path = next_path();
    write_file_atomic(path, bytes.substr(0, size));
    EXPECT_THROW(Segment::open(path), Error);
  }
}

TEST_F(SegmentTest, ChangesOfAnotherSegmentAreRefused) {
  Made a(13, 50), b(14, 50);
  const auto one = sealed(a.index), other = sealed(b.index);
  const uint64_t posts = one->posts();
  one->bury(3, 500);
  one->write_changes(dir_.path() / "changes");
  EXPECT_THROW(other->read_changes(dir_.path() / "changes"), Error);
  std::string bytes = read_file(dir_.path() / "changes");
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] ^= 4;
    write_file_atomic(dir_.path() / "changes", damaged);
    const auto fresh = Segment::open(one->path());
    EXPECT_THROW(fresh->read_changes(dir_.path() / "changes"), Error);
    EXPECT_EQ(fresh->posts(), posts);
  }
}

TEST_F(SegmentTest, StopsWhenAskedAndLeavesNothing) {
  Made made(11, 5000);
  std::stop_source stop;
  stop.request_stop();
  const auto path = next_path();
  EXPECT_THROW(seal(made.index, 1'000'000, path, stop.get_token()), Error);
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
}

}  // namespace
}  // namespace fathom::live
