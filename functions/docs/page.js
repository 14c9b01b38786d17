// Shows the document beside this page. Tokens stay in the page's memory: a reload forgets them.

// Folds the samples of errors, which would be most of every route. Successes stay open.
const foldErrors = ({ React }) => ({
  wrapComponents: {
    modelExample: (Original) => (props) => {
      const path = props.specPath.toJS();
      const isError = Number(path[path.indexOf("responses") + 1]) >= 400;
      const sample = React.createElement(Original, props);
      return isError
        ? React.createElement("details", null, React.createElement("summary", null, "Samples"), sample)
        : sample;
    },
  },
});

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  plugins: [foldErrors],
  tryItOutEnabled: true,
  validatorUrl: null,
});
