"""The whole product on one machine: embedded services, mail sandbox, command line."""
