// Package race has the constant by which a test knows that it runs under the race
// detector, which makes code slower and its memory larger. A test that is smaller, or
// measures less, because of that also runs without it (.ci/run). Children is for tests
// that start such programs.
package race
