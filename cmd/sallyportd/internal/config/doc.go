// Package config is the configuration of sallyportd, from its text to a validated,
// immutable Config.
//
//	raw        the keys of the file, each declared once: type, default, range,
//	           kinds of services, reload class, expected value
//	  keys     the meaning of the declarations: defaults, ranges, kinds (reflection)
//	Parse      text -> Config: no file, no system call, no probe of the kernel
//	  service  the common part of services; kind_web, kind_proxy, kind_firewall,
//	           kind_process, kind_command: a file for each kind, with its keys,
//	           validation, description, requirements, and enforcers
//	  programs the operator's programs, of services of any kind: what a runner may
//	           start is Config.Programs, and nothing else
//	  loop     rejects upstreams that form a loop
//	  shield   the keys of the program at the network driver
//	  challenge, operation   the challenge–response protocol
//	Load       Parse, and the files that the caller needs
//	Check      checks a Config against a Host, which is a literal in tests
//	Changed    names a changed key that requires a restart
//
// A Config is immutable and contains no client's secret: package clients reads the
// clients file.
package config
