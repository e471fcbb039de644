package netns

import (
	"flag"
	"fmt"
)

// Together lets n parallel tests run at a time, unless -parallel was given: tests
// in separate namespaces mostly wait, and need no processor while they do.
// TestMain must call it before the tests run.
func Together(n int) {
	if !flag.Parsed() {
		flag.Parse()
	}
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		// The flag exists and accepts numbers, so this cannot fail.
		if err := flag.Set("test.parallel", fmt.Sprint(n)); err != nil {
			panic(err)
		}
	}
}
