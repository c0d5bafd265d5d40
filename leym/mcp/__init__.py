"""An MCP server: gives a language model the service as tools, within the scopes of a token and within a budget."""
