"""A scikit-learn container as people write them for SageMaker: `train` and `serve`. For scripts/prove-containers."""
import json
import os
import pathlib
import sys
import traceback

ML = pathlib.Path("/opt/ml")


def train():
    import joblib
    import numpy
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parameters = json.loads((ML / "input/config/hyperparameters.json").read_text())
    files = sorted((ML / "input/data/train").iterdir())
    rows = numpy.concatenate([numpy.loadtxt(file, delimiter=",", skiprows=1) for file in files])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=float(parameters["c"])))
    model.fit(rows[:, :-1], rows[:, -1].astype(int))
    joblib.dump(model, ML / "model/model.joblib")
    print(f"trained on {len(rows)} rows, accuracy {model.score(rows[:, :-1], rows[:, -1].astype(int)):.3f}")


def application():
    import io

    import flask
    import joblib
    import numpy

    app = flask.Flask("serve")
    model = joblib.load(ML / "model/model.joblib")

    @app.get("/ping")
    def ping():
        return flask.Response("\n", 200)

    @app.post("/invocations")
    def invocations():
        if flask.request.content_type != "text/csv":
            return flask.Response("This predictor only supports CSV data", 415, mimetype="text/plain")
        rows = numpy.loadtxt(io.StringIO(flask.request.get_data(as_text=True)), delimiter=",", ndmin=2)
        return flask.jsonify(probabilities=model.predict_proba(rows).tolist())

    return app


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "nothing"
    if what == "serve":
        os.chdir("/opt/app")
        gunicorn = ["-m", "gunicorn", "--bind", "0.0.0.0:8080", "--workers", "1", "--worker-tmp-dir", "/tmp",
                    "app:application()"]
        os.execv(sys.executable, [sys.executable, *gunicorn])
    if what != "train":
        sys.exit(f"train or serve, not {what}")
    try:
        train()
    except Exception as error:
        (ML / "output/failure").write_text(f"{error}\n{traceback.format_exc()}")
        print(traceback.format_exc(), file=sys.stderr)
        sys.exit(255)


if __name__ == "__main__":
    main()
