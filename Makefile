# The two commands: `make demo` shows the main job, `make test` runs every test.
# Each brings what is missing first (Debian packages, npm packages, the build).

.PHONY: demo test check bench setup build clean

demo: build
	@node bin/lodestone.js lab demo

test: build
	@npm test --silent

check: build
	@npm run --silent check

# make bench NAME=failover
bench: build
	@npm run --silent bench -- $(NAME)

build: setup
	@npm run --silent build

setup:
	@tools/setup

clean:
	rm -rf dist dist-* native/build node_modules
