// Lucene on the posts and queries of live_bench, which runs it (Java 17, Lucene 9 from Maven Central):
//
//     live_bench --peer "java -Xmx4g -cp lucene-core.jar:lucene-analysis-common.jar bench/peers/live_lucene.java"
//
// Arguments: queries.txt posts.jsonl. Near real time: one indexing thread, English stemming, positions, text stored, posts sorted by
// arrival, a refresh each second beside it. Indexed besides, as Fathom does: a key by which a post replaces an older one, the author,
// source and language as terms, likes as a column. Prints a JSON object a measure.
import java.io.*;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.atomic.*;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.document.*;
import org.apache.lucene.index.*;
import org.apache.lucene.search.*;
import org.apache.lucene.store.FSDirectory;

class LiveLucene {
  static final String[] COLUMNS = {"id", "source", "author", "lang"};

  static String field(String line, String name) {  // of the flat objects that live_bench writes
    int at = line.indexOf("\"" + name + "\":\"");
    if (at < 0) return "";
    at += name.length() + 4;
    StringBuilder out = new StringBuilder();
    for (; line.charAt(at) != '"'; ++at) {
      char c = line.charAt(at);
      if (c != '\\') {
        out.append(c);
        continue;
      }
      c = line.charAt(++at);
      if (c == 'u') {
        out.append((char) Integer.parseInt(line.substring(at + 1, at + 5), 16));
        at += 4;
      } else {
        out.append(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c);
      }
    }
    return out.toString();
  }

  static long number(String line, String name) {
    int at = line.indexOf("\"" + name + "\":");
    if (at < 0) return 0;
    int begin = at + name.length() + 3, end = begin;
    while (end < line.length() && (Character.isDigit(line.charAt(end)) || line.charAt(end) == '-')) ++end;
    return Long.parseLong(line.substring(begin, end));
  }

  static double cpu() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() * 1e-9;
  }

  static void latency(String name, List<Double> millis) {
    Collections.sort(millis);
    System.out.printf(Locale.ROOT, "{\"name\":\"%s\",\"p50_ms\":%.5f,\"p99_ms\":%.5f,\"max_ms\":%.5f}%n", name,
        millis.get(millis.size() / 2), millis.get(millis.size() * 99 / 100), millis.get(millis.size() - 1));
  }

  interface Search {
    void run(String[] words) throws IOException;
  }

  static void measure(String name, List<String[]> queries, Search search) throws IOException {
    List<Double> millis = new ArrayList<>();
    for (int pass = 0; pass < 3; ++pass) {  // the first ones warm the compiler up
      millis.clear();
      for (String[] words : queries) {
        long start = System.nanoTime();
        search.run(words);
        millis.add((System.nanoTime() - start) * 1e-6);
      }
    }
    latency(name, millis);
  }

  static Query join(String[] words, BooleanClause.Occur occur) {
    BooleanQuery.Builder builder = new BooleanQuery.Builder();
    for (String word : words) builder.add(new TermQuery(new Term("text", word)), occur);
    return builder.build();
  }

  public static void main(String[] args) throws Exception {
    String since = "";
    List<String[]> any = new ArrayList<>(), all = new ArrayList<>();
    for (String line : Files.readAllLines(Path.of(args[0]), StandardCharsets.UTF_8)) {
      String[] parts = line.split(" ");
      if (parts[0].equals("since")) since = parts[1];
      else (parts[0].equals("any") ? any : all).add(Arrays.copyOfRange(parts, 1, parts.length));
    }
    List<String> texts = new ArrayList<>(), times = new ArrayList<>();
    List<String[]> columns = new ArrayList<>();
    List<Long> likes = new ArrayList<>();
    try (BufferedReader reader = Files.newBufferedReader(Path.of(args[1]), StandardCharsets.UTF_8)) {
      for (String line; (line = reader.readLine()) != null;) {
        texts.add(field(line, "text"));
        times.add(field(line, "created_at"));
        String[] names = new String[COLUMNS.length];
        for (int c = 0; c < names.length; ++c) names[c] = field(line, COLUMNS[c]);
        columns.add(names);
        likes.add(number(line, "likes"));
      }
    }
    Path folder = Files.createTempDirectory("live-lucene");
    IndexWriterConfig config = new IndexWriterConfig(new EnglishAnalyzer());
    config.setIndexSort(new Sort(new SortField("number", SortField.Type.LONG, true)));  // newest first
    try (FSDirectory directory = FSDirectory.open(folder); IndexWriter writer = new IndexWriter(directory, config)) {
      SearcherManager manager = new SearcherManager(writer, null);
      AtomicBoolean done = new AtomicBoolean();
      List<Double> refreshes = new ArrayList<>();
      Thread refresher = new Thread(() -> {
        try {
          while (!done.get()) {
            Thread.sleep(1000);
            long start = System.nanoTime();
            manager.maybeRefreshBlocking();
            refreshes.add((System.nanoTime() - start) * 1e-6);
          }
        } catch (Exception error) {
          throw new RuntimeException(error);
        }
      });
      double cpu = cpu();
      long wall = System.nanoTime();
      refresher.start();
      for (int i = 0; i < texts.size(); ++i) {
        Document document = new Document();
        document.add(new TextField("text", texts.get(i), Field.Store.YES));
        String[] names = columns.get(i);
        for (int c = 0; c < COLUMNS.length; ++c) document.add(new StringField(COLUMNS[c], names[c], Field.Store.YES));
        document.add(new NumericDocValuesField("likes", likes.get(i)));
        document.add(new NumericDocValuesField("number", i));
        document.add(new LongPoint("at", i));
        writer.updateDocument(new Term("id", names[0]), document);
      }
      done.set(true);
      refresher.join();
      writer.commit();
      double seconds = (System.nanoTime() - wall) * 1e-9;
      System.out.printf(Locale.ROOT, "{\"name\":\"index, near real time\",\"posts_per_s\":%.0f,\"posts_per_cpu_s\":%.0f}%n",
          texts.size() / seconds, texts.size() / (cpu() - cpu));
      latency("index: a refresh, one a second", refreshes);
      long bytes = 0;
      for (String name : directory.listAll()) bytes += directory.fileLength(name);
      System.out.printf(Locale.ROOT, "{\"name\":\"disk\",\"bytes_per_post\":%.1f}%n", (double) bytes / texts.size());
      manager.maybeRefreshBlocking();
      IndexSearcher searcher = manager.acquire();
      int first = 0;
      while (times.get(first).compareTo(since) < 0) ++first;
      final Query recent = LongPoint.newRangeQuery("at", first, texts.size());
      Sort newest = new Sort(new SortField("number", SortField.Type.LONG, true));
      measure("query (a) any of 3, BM25 top 10", any,
          words -> searcher.search(join(words, BooleanClause.Occur.SHOULD), 10));
      measure("query (b) both of 2, newest 10", all,
          words -> searcher.search(join(words, BooleanClause.Occur.MUST), 10, newest));
      measure("query (c) any of 3, last 1 % of time", any,
          words -> searcher.search(new BooleanQuery.Builder()
                                       .add(join(words, BooleanClause.Occur.SHOULD), BooleanClause.Occur.MUST)
                                       .add(recent, BooleanClause.Occur.FILTER)
                                       .build(), 10));
      manager.release(searcher);
    }
    try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
      for (Path file : files) Files.delete(file);
    }
    Files.delete(folder);
  }
}
