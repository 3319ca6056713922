// Which bursting terms tell one story, and which posts belong to it. Pure: values in, values out.
//
// Near-duplicates are folded into groups first, since a post repeated a hundred times says nothing about which words go
// together. Terms are joined from the bottom up by average linkage (Sokal and Michener, 1958): two terms are alike when
// the groups that use both are many of those that use the rarer one, and more than chance would give; those of one story
// stay together more easily than strangers come together (evolutionary clustering: Chakrabarti et al., KDD 2006). A post
// belongs to the cluster whose terms it has most of.
#pragma once

#include <cstdint>
#include <vector>

#include "live/trends/recent_posts.h"
#include "live/trends/term_frequencies.h"

namespace fathom::live {

struct ClusterTerm {
  uint64_t hash = 0;
  double score = 0;  // of its burst
  size_t story = 0;  // that it belonged to before, from 1; 0: none
  TrendKind kind = TrendKind::kWord;
};

struct ClusteredTerm {
  size_t term = 0;    // index into what was given
  double weight = 0;  // how much of it belongs here
};

struct ClusteredPost {
  size_t post = 0;
  uint32_t group = 0;
  double weight = 0;
};

struct Cluster {
  std::vector<ClusteredTerm> terms;  // heaviest first
  std::vector<ClusteredPost> posts;  // in the order given
  size_t groups = 0, authors = 0;
};

/// The group of each post: those alike have one number.
std::vector<uint32_t> near_duplicate_groups(const std::vector<const RecentPost*>& posts);

/// `frequency`: of the terms of `posts`.
std::vector<Cluster> find_clusters(const std::vector<const RecentPost*>& posts,
                                   const std::vector<uint32_t>& groups, const TermFrequencies& frequency,
                                   const std::vector<ClusterTerm>& terms);

}  // namespace fathom::live
