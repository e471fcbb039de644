package netns

import (
	"flag"
	"fmt"
)

// Together lets n parallel tests run at a time, unless -parallel says how
// many: tests in namespaces of their own mostly wait, and need no processor
// meanwhile. It is for TestMain, before the tests run.
func Together(n int) {
	if !flag.Parsed() {
		flag.Parse()
	}
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		// The flag exists, and takes numbers.
		if err := flag.Set("test.parallel", fmt.Sprint(n)); err != nil {
			panic(err)
		}
	}
}
