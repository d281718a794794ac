# Only that this file is there matters to the tests of the configuration.
