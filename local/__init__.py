"""The service on one machine: environments, a local AWS, build, deployment. Nothing here is deployed."""
