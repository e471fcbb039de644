// Package config is the configuration of sallyportd, from its text to a Config
// that is checked and never changes.
//
//	raw        the keys as they stand in the file, each declared once: type,
//	           default, range, kinds of services, reload class, expectation
//	  keys     what every declaration means: defaults, ranges, kinds (reflection)
//	Parse      text -> Config: no file, no system call, no probe of the kernel
//	  service  what all services have; kind_web, kind_proxy, kind_firewall: a
//	           file each with its keys, validation, description, requirements,
//	           and enforcers
//	  loop     upstreams that lead back to themselves
//	  challenge, operation   the challenge–response protocol
//	Load       Parse, and the files that the caller needs
//	Check      a Config held against a Host, which in tests is a literal
//	Changed    which key needs a restart
//
// A Config is immutable and holds no client's secret: the clients file is
// package clients'.
package config
